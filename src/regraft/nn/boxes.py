"""Boxes as arrays: transformation with the views of their examples, overlap, and non-maximum suppression.

A box is left, top, right, bottom; x increases to the right and y downwards, in the units of its example or as fractions
of a view's sides.

Letters: m and p boxes.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST_SEEN = 0.3
"""Minimum visible fraction of a box's area for the box to be a target in a view (our choice)."""


def in_view(
    boxes: Float[np.ndarray, "m 4"], placed: Float[np.ndarray, " 4"], flips: Bool[np.ndarray, " 2"]
) -> tuple[Float[np.ndarray, "m 4"], Bool[np.ndarray, " m"]]:
    """Return boxes as fractions of a view's sides, clipped to it, from boxes in the example's units; and which are
    visible enough.

    `placed` and `flips` are the view's placement: the visible part of the example, and how it was flipped.
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
    """Return boxes in the example's units, from a plain view of the whole example, clipped to the example."""
    left, top, right, bottom = placed.astype(np.float64)
    found = boxes * [right - left, bottom - top, right - left, bottom - top] + [left, top, left, top]
    width, height = left + right, top + bottom  # letterbox borders have equal width on both sides
    return np.clip(found, 0, [width, height, width, height])


def areas(boxes: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, " m"]:
    """Return width times height."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(one: Float[np.ndarray, "m 4"], other: Float[np.ndarray, "p 4"]) -> Float[np.ndarray, "m p"]:
    """Return the intersection over union (IoU) of every pair; 0 where both are empty."""
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = areas(one)[:, None] + areas(other) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppressed(boxes: Float[np.ndarray, "m 4"], scores: Float[np.ndarray, " m"], limit: float) -> Int[np.ndarray, " p"]:
    """Return the indices kept by non-maximum suppression (NMS), by descending score; boxes that overlap a kept one by
    more than `limit` are dropped. Ties keep their order. Same as torchvision's operator, which torchvision's wheel on
    the package index does not provide for CPU-only torch."""
    order, kept = np.argsort(-scores, kind="stable"), list[int]()
    over = overlaps(boxes[order], boxes[order]) > limit
    left = np.ones(len(order), dtype=bool)
    for at in range(len(order)):
        if left[at]:
            kept.append(at)
            left &= ~over[at]
    return order[kept]
