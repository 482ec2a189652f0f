"""Augmented views computed on a device, in batches, from images that are decoded once and kept there.

Decoding and cropping one image at a time takes a CPU longer than training on it takes a GPU. So the images are decoded
once, those much larger than the network's input are downscaled, and all are concatenated in one tensor; a batch of
crops is then one weighted gather.

Shapes: b images of a batch, n of the data set, p pixels of all images, h and w height and width of the prepared image
in pixels, c channels.

As with `augment.view`, a view is a pure function of the seed, of its number and of the content of the file, on every
device, in any order, up to the rounding of the device's arithmetic. Here the random numbers come from a hash of the
three (splitmix64: Steele et al. 2014, doi:10.1145/2660193.2660195), since a generator per image would again work one
image at a time. Crops are drawn as in `augment`, but cut from the downscaled image, by bilinear interpolation without
antialiasing. RandAugment is not available.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt64

from regraft.errors import BadRequest
from regraft.identity import derive_seed
from regraft.modalities.image.augment import LUMA, TRIES, Augmentation
from regraft.modalities.image.planes import PillowImage, Planes, as_array
from regraft.modalities.image.prepare import Preparation
from regraft.values import Event, Progress

if TYPE_CHECKING:
    from torch import Tensor

REDUCED = 1.5
"""Maximum ratio of a stored image's shorter side to the input's side; larger images are downscaled. Our choice: the
smallest crops of the default views are then a tenth coarser than the input, and for whole images few pixels are
skipped."""
_TELL_S = 1.0
"""Minimum seconds between two events while images are decoded."""


class HeldImages:
    """Images of one data set, stored on one device."""

    def __init__(
        self,
        load: Callable[[int], "PillowImage | Planes"],
        contents: Sequence[str],
        preparation: Preparation,
        augmentation: Augmentation,
        *,
        seed: int,
        device: str,
        workers: int,
    ) -> None:
        """`load(example)` decodes an image, in `workers` threads; `contents` has the digest of each example's file."""
        self._load, self._preparation, self._augmentation = load, preparation, augmentation
        self._device, self._workers = device, max(1, workers)
        self._keys = np.array([int(content[:16] or "0", 16) for content in contents], dtype=np.uint64)
        self._seed = derive_seed(seed, "views on device")
        count = len(contents)
        self._start = np.full(count, -1, dtype=np.int64)
        self._sizes = np.zeros((count, 2), dtype=np.int64)
        self._centres = np.zeros((count, 4))
        self._pixels: Tensor | None = None

    def hold(self, examples: Sequence[int]) -> Generator[Event, None, None]:
        """Decode these examples and store them on the device; yields progress.

        Raises:
            BadRequest: they do not fit into its memory.
            Undecodable: a file has changed since it was scanned.
        """
        began = told = monotonic()
        made: list[UInt8[np.ndarray, "h w c"]] = []
        size = 0
        with ThreadPoolExecutor(self._workers) as pool:
            for pixels in pool.map(self._reduced, examples):
                made.append(pixels)
                size += pixels.nbytes
                if monotonic() - told >= _TELL_S:
                    told = monotonic()
                    left = (told - began) / len(made) * (len(examples) - len(made))
                    self._check(size * len(examples) // len(made))
                    yield Progress(
                        phase="decoding", done=len(made), total=len(examples), seconds=told - began, seconds_left=left
                    )
        self._check(size)
        start = 0
        for example, pixels in zip(examples, made, strict=True):
            height, width = pixels.shape[:2]
            self._start[example], self._sizes[example] = start, (height, width)
            self._centres[example] = self._preparation.centre(width, height)
            start += height * width
        import torch

        flat = np.concatenate([pixels.reshape(-1, pixels.shape[2]) for pixels in made])
        made.clear()
        self._pixels = torch.from_numpy(flat).to(self._device)

    def batch(self, examples: Int[np.ndarray, " b"], numbers: Int[np.ndarray, " b"]) -> "UInt8[Tensor, 'b h w c']":
        """Return views, with numbers above 0, of stored examples."""
        if (self._start[examples] < 0).any() or (numbers < 1).any():
            raise ValueError("The requested views are plain, or of an example that is not loaded.")
        drawn = _uniform(self._keys[examples], self._seed, numbers, 4 * TRIES + 5)
        return self._cut(examples, self._boxes(examples, drawn[:, : 4 * TRIES]), drawn[:, 4 * TRIES :].T)

    def _reduced(self, example: int) -> UInt8[np.ndarray, "h w c"]:
        image = self._load(example)
        most = REDUCED * max(self._preparation.input_px)
        shorter = min(image.width, image.height)
        if shorter <= most:
            return as_array(image)
        sides = (round(image.height * most / shorter), round(image.width * most / shorter))
        return replace(self._preparation, input_px=sides, resize_px="squash").plain(image)

    def _check(self, size: int) -> None:
        """Raises: BadRequest: this many bytes would take more than half of the device's free memory."""
        if not self._device.startswith("cuda"):
            return
        import torch

        free, _ = torch.cuda.mem_get_info(self._device)
        if size > free / 2:
            raise BadRequest(
                f"The images need about {size / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free on {self._device}; "
                "at most half of that is used.",
                fix="leave out augment.on_device, or choose a smaller --input-px.",
            )

    def _boxes(self, examples: Int[np.ndarray, " b"], drawn: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b 4"]:
        """Return left, upper, right and lower edge: those of the first crop that fits, else of the centre."""
        boxes: Float[np.ndarray, "b 4"] = self._centres[examples].copy()
        if self._augmentation.smallest_share == 1.0:
            return boxes
        height, width = self._sizes[examples].T[:, :, None]
        input_h, input_w = self._preparation.input_px
        area, ratio, across, down = np.moveaxis(drawn.reshape(len(drawn), TRIES, 4), 2, 0)
        share = self._augmentation.smallest_share
        area = width * height * (share + (1 - share) * area)
        ratio = np.exp(np.log(self._augmentation.ratio) * (2 * ratio - 1)) * input_w / input_h
        crop_w, crop_h = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (crop_w > 0) & (crop_w <= width) & (crop_h > 0) & (crop_h <= height)
        left, upper = np.floor(across * (width - crop_w + 1)), np.floor(down * (height - crop_h + 1))
        crops = np.stack([left, upper, left + crop_w, upper + crop_h], axis=2)
        found, first = fits.any(axis=1), fits.argmax(axis=1)
        boxes[found] = crops[found, first[found]]
        return boxes

    def _cut(
        self, examples: Int[np.ndarray, " b"], boxes: Float[np.ndarray, "b 4"], drawn: Float[np.ndarray, "5 b"]
    ) -> "UInt8[Tensor, 'b h w c']":
        """Crop the boxes with bilinear interpolation; apply flips, brightness and contrast, and greyscale as
        `drawn`."""
        import torch

        asked, pixels = self._augmentation, self._pixels
        assert pixels is not None
        (input_h, input_w), (height, width) = self._preparation.input_px, self._sizes[examples].T
        columns = _neighbours(boxes[:, 0], boxes[:, 2], input_w, width, drawn[0] < asked.horizontal_flip)
        rows = _neighbours(boxes[:, 1], boxes[:, 3], input_h, height, drawn[1] < asked.vertical_flip)
        tones = 1 + np.array([[asked.brightness], [asked.contrast]]) * (2 * drawn[2:4] - 1)
        sent = (*columns, *rows, width, self._start[examples], *tones.astype(np.float32), drawn[4] < asked.greyscale)
        left, right, across, upper, lower, down, width, start, *rest = (
            torch.from_numpy(array).to(self._device) for array in sent
        )
        brightness, contrast, is_grey = (one[:, None, None, None] for one in rest)

        def at(row: "Tensor", column: "Tensor") -> "Tensor":
            return pixels[(start[:, None] + row * width[:, None])[:, :, None] + column[:, None, :]].float()

        across, down = across[:, None, :, None], down[:, :, None, None]
        above = torch.lerp(at(upper, left), at(upper, right), across)
        below = torch.lerp(at(lower, left), at(lower, right), across)
        views = torch.lerp(above, below, down)
        channels = views.shape[3]
        weights = torch.tensor(LUMA if channels == len(LUMA) else [1 / channels] * channels, device=self._device)
        if asked.brightness or asked.contrast:
            middle = (views.mean(dim=(1, 2), keepdim=True) * weights).sum(dim=3, keepdim=True) * brightness
            views = (views * brightness - middle) * contrast + middle
        if asked.greyscale:
            views = torch.where(is_grey, (views * weights).sum(dim=3, keepdim=True), views)
        return views.round_().clamp_(0, 255).to(torch.uint8)


def _neighbours(
    start: Float[np.ndarray, " b"], end: Float[np.ndarray, " b"], count: int, size: np.ndarray, flipped: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `count` pixels of a view along one side, return the two stored pixels it lies between, clipped to the
    image, and its fractional distance from the first to the second."""
    places = start[:, None] + (end - start)[:, None] * ((np.arange(count) + 0.5) / count) - 0.5
    last = size[:, None] - 1
    places = np.clip(np.where(flipped[:, None], places[:, ::-1], places), 0, last)
    low = places.astype(np.int64)
    return low, np.minimum(low + 1, last), (places - low).astype(np.float32)


def _uniform(
    keys: UInt64[np.ndarray, " b"], seed: int, numbers: Int[np.ndarray, " b"], count: int
) -> Float[np.ndarray, "b k"]:
    """Return `count` 53-bit numbers in [0, 1) for each key and view number."""
    state = _mixed(keys ^ _mixed(np.uint64(seed) + numbers.astype(np.uint64) * _GOLDEN))
    values = _mixed(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(values: UInt64[np.ndarray, " ..."]) -> UInt64[np.ndarray, " ..."]:
    """Apply the finaliser of splitmix64; integers wrap around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
