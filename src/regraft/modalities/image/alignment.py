"""Detection of copies of an image that were cropped, stretched or mirrored.

Shapes: n images, m pairs, p pixels per side.

One image of a pair, and its mirror image, is aligned to the other by a scale and a shift along each axis, with
Gauss-Newton steps on grey miniatures of 16, 32, then 64 pixels per side (Lucas & Kanade 1981; Bouguet 2000 for the
pyramid). The score is the correlation of fine structure: each miniature minus its local mean. Brightness, contrast and
what most images of a kind have in common (all chests look alike) do not contribute. When 32 copies of 800 chest X-rays
were cropped by 2 to 8 % on every side and saved as JPEG of quality 60 to 85, all had a correlation of at least 0.91; of
10,000 pairs of different images, one was above 0.55, two exposures of the same child. Copies of tissue tiles of 50
pixels had a median correlation of 0.68, different tiles 0.18 at most. The threshold therefore depends on the other
pairs of the same data. The thresholds are our choice.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from regraft.modalities.image.planes import PillowImage, Planes

SIDE = 64
"""Side of the miniatures in pixels."""
THRESHOLDS = (0.4, 0.65)
"""Minimum and maximum of the correlation threshold for a copy; between them it is three times the 90th percentile of
all pairs."""
_LEVELS = ((16, 5, 3), (32, 4, 1), (64, 3, 0))
"""Side in pixels, number of steps, and number of candidates per pair that go on to the next level."""
_STARTS = (0.9, 1.1)
"""Initial scales."""
_BLOCK = 500
"""Number of pairs aligned at a time."""
_SCALES, _SHIFT = (0.6, 1.7), 0.5
"""Minimum and maximum scale; maximum shift, in units of half a side."""


def miniature(image: "PillowImage | Planes") -> UInt8[np.ndarray, "64 64"]:
    """Return the whole of a decoded image as a grey square."""
    from PIL import Image

    small = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small.mean() if isinstance(small, Planes) else small.convert("L"))


def copies(grey: UInt8[np.ndarray, "n 64 64"], pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
    """Return a mask of the pairs of miniatures that are copies, possibly cropped, stretched or mirrored."""
    found = correlations(grey, pairs)
    aligned = found[found > -1]
    usual = float(np.quantile(aligned, 0.9)) if len(aligned) >= 50 else 1.0
    return found >= np.clip(3 * usual, *THRESHOLDS)


def correlations(grey: UInt8[np.ndarray, "n 64 64"], pairs: Int[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Return the correlation of each pair's fine structure after alignment; -1 if an early level ruled the pair out."""
    plain = grey.astype(np.float32)
    both = np.concatenate([plain, plain[:, :, ::-1]])  # the second half is mirrored
    levels = {SIDE: both, SIDE // 2: _halved(both), SIDE // 4: _halved(_halved(both))}
    mirrored = np.stack([pairs[:, 0] + len(grey), pairs[:, 1]], axis=1)
    tried = np.tile(np.concatenate([pairs, mirrored]), (len(_STARTS), 1))
    start = np.repeat(np.array(_STARTS, dtype=np.float32), 2 * len(pairs))
    placed = np.stack([start, 0 * start, start, 0 * start], axis=1)
    left, found = np.arange(len(tried)), np.full(len(tried), -1.0)
    for side, steps, going_on in _LEVELS:
        scores = np.full(len(tried), -1.0)
        for at in range(0, len(left), _BLOCK):
            some = left[at : at + _BLOCK]
            placed[some], scores[some] = _aligned(levels[side], tried[some], placed[some], steps)
        if not going_on:
            found[left] = scores[left]
        left = left[np.argsort(-scores[left], kind="stable")[: max(200, going_on * len(grey))]]
    return found.reshape(-1, len(pairs)).max(axis=0)


def _halved(images: Float[np.ndarray, "n p p"]) -> Float[np.ndarray, "n q q"]:
    side = images.shape[1] // 2
    return images.reshape(len(images), side, 2, side, 2).mean(axis=(2, 4))


def _aligned(
    images: Float[np.ndarray, "n p p"], pairs: Int[np.ndarray, "m 2"], placed: Float[np.ndarray, "m 4"], steps: int
) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"]]:
    """Return refined placements (horizontal scale and shift, vertical scale and shift), and the correlation of each."""
    side = images.shape[1]
    line = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    down, across = np.meshgrid(line, line, indexing="ij")
    first, best, score = images[pairs[:, 0]], placed, np.full(len(pairs), -1.0, dtype=np.float32)
    fine_first = _fine(first)
    for step in range(steps + 1):
        scale_x, shift_x, scale_y, shift_y = placed.T[:, :, None, None]
        x, y = scale_x * across + shift_x, scale_y * down + shift_y
        # Near an edge of either image the fine structure is unknown.
        margin = 1 - (2 if side < SIDE // 2 else 3) / side
        weight = (abs(x) < margin) & (abs(y) < margin) & (abs(across) < margin) & (abs(down) < margin)
        weight = weight.astype(np.float32)
        second, slope_x, slope_y = _sampled(images, pairs[:, 1], (x + 1) * side / 2 - 0.5, (y + 1) * side / 2 - 0.5)
        now = _correlated(fine_first, _fine(second), weight)
        if side < SIDE // 2:  # at low resolution there is hardly any fine structure
            now = (now + _correlated(first, second, weight)) / 2
        now = np.where(weight.mean(axis=(1, 2)) > 0.35, now, -1)
        best = np.where((now > score)[:, None], placed, best)
        score = np.maximum(now, score)
        if step == steps:
            break
        (one, _), (other, spread) = _standardised(first, weight), _standardised(second, weight)
        slope_x, slope_y = slope_x / spread * side / 2, slope_y / spread * side / 2
        moves = np.stack([slope_x * across, slope_x, slope_y * down, slope_y], axis=-1) * weight[..., None]
        moves = moves.reshape(len(pairs), -1, 4)
        moves -= moves.mean(axis=1, keepdims=True)
        normal = np.swapaxes(moves, 1, 2) @ moves
        normal += np.eye(4) * (np.trace(normal, axis1=1, axis2=2) / 400 + 1e-3)[:, None, None]
        wanted = np.swapaxes(moves, 1, 2) @ ((one - other) * weight).reshape(len(pairs), -1, 1)
        placed = placed + np.clip(np.linalg.solve(normal, wanted)[..., 0], -0.15, 0.15).astype(np.float32)
        placed[:, ::2], placed[:, 1::2] = np.clip(placed[:, ::2], *_SCALES), np.clip(placed[:, 1::2], -_SHIFT, _SHIFT)
    return best, score


def _sampled(
    images: Float[np.ndarray, "n p p"], which: Int[np.ndarray, " m"], x: Float[np.ndarray, "m p p"],
    y: Float[np.ndarray, "m p p"],
) -> tuple[Float[np.ndarray, "m p p"], Float[np.ndarray, "m p p"], Float[np.ndarray, "m p p"]]:  # fmt: skip
    """Sample the images at these pixel positions; return values and horizontal and vertical gradients (bilinear)."""
    side = images.shape[1]
    left, upper = (np.clip(np.floor(one), 0, side - 2).astype(np.int64) for one in (x, y))
    right, lower = (x - left).astype(np.float32), (y - upper).astype(np.float32)
    at, flat = which[:, None, None] * side**2 + upper * side + left, images.ravel()
    a, b, c, d = flat[at], flat[at + 1], flat[at + side], flat[at + side + 1]
    above, below = a + (b - a) * right, c + (d - c) * right
    return above + (below - above) * lower, (b - a) * (1 - lower) + (d - c) * lower, below - above


def _standardised(
    image: Float[np.ndarray, "m p p"], weight: Float[np.ndarray, "m p p"]
) -> tuple[Float[np.ndarray, "m p p"], Float[np.ndarray, "m 1 1"]]:
    """Subtract the weighted mean and divide by the standard deviation; also return the standard deviation."""
    share = weight / np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1)
    centred = image - (image * share).sum(axis=(1, 2), keepdims=True)
    spread = np.sqrt((centred**2 * share).sum(axis=(1, 2), keepdims=True)) + np.float32(1e-3)
    return centred / spread, spread


def _correlated(
    one: Float[np.ndarray, "m p p"], other: Float[np.ndarray, "m p p"], weight: Float[np.ndarray, "m p p"]
) -> Float[np.ndarray, " m"]:
    product = _standardised(one, weight)[0] * _standardised(other, weight)[0] * weight
    return product.sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1)


def _fine(images: Float[np.ndarray, "m p p"]) -> Float[np.ndarray, "m p p"]:
    """Subtract the mean of 3 x 3 pixels from the images."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return images - (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
