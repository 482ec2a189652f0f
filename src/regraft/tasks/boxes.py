"""Boxes as arrays: moved with views of their examples, compared, thinned out where they lie on one another.

A box is left, top, right, bottom; x runs to the right and y down, in the units of its example or in shares of a view's
sides.

Letters: m and p boxes.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST_SEEN = 0.3
"""Share of a box's area that a view must show for the box to be a target there (our choice)."""


def in_view(
    boxes: Float[np.ndarray, "m 4"], placed: Float[np.ndarray, " 4"], flips: Bool[np.ndarray, " 2"]
) -> tuple[Float[np.ndarray, "m 4"], Bool[np.ndarray, " m"]]:
    """Boxes in the units of an example -> in shares of a view's sides, cut to it; and of which enough is seen there.

    `placed` and `flips` are the view's placement: the part of the example that it shows, and how that was turned.
    """
    left, top, right, bottom = placed
    moved = (boxes - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    cut = np.clip(moved, 0, 1)
    seen = areas(cut) > LEAST_SEEN * areas(moved)
    for flipped, axes in zip(flips, ([0, 2], [1, 3]), strict=True):
        if flipped:
            cut[:, axes] = 1 - cut[:, axes[::-1]]
    return cut, seen


def in_example(boxes: Float[np.ndarray, "m 4"], placed: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "m 4"]:
    """The way back, of a plain view of the whole example; what lies in its borders is cut off."""
    left, top, right, bottom = placed.astype(np.float64)
    found = boxes * [right - left, bottom - top, right - left, bottom - top] + [left, top, left, top]
    width, height = left + right, top + bottom  # the borders of a letterbox are as wide on both sides
    return np.clip(found, 0, [width, height, width, height])


def areas(boxes: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, " m"]:
    """Width times height."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(one: Float[np.ndarray, "m 4"], other: Float[np.ndarray, "p 4"]) -> Float[np.ndarray, "m p"]:
    """Intersection over union (IoU) of every pair; 0 where both are empty."""
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = areas(one)[:, None] + areas(other) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppressed(boxes: Float[np.ndarray, "m 4"], scores: Float[np.ndarray, " m"], limit: float) -> Int[np.ndarray, " p"]:
    """Non-maximum suppression (NMS): the boxes that are kept, the highest score first; one that overlaps a kept box by
    more than `limit` is left out. Among equal scores the first goes before. As torchvision's operator, which its wheel
    on the package index does not bring along for processors."""
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        kept.append(order[0])
        rest = order[1:]
        order = rest[overlaps(boxes[order[:1]], boxes[rest])[0] <= limit]
    return np.array(kept, dtype=np.int64)
