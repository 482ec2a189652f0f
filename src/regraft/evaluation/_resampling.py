"""Resamples as weights: how often each example counts.

Letters in shapes: n examples, u units (examples, or whole groups), b resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.identity import derive_seed

_BLOCK = 1 << 21
"""Weights held at once, at most (16 MiB), unless one resample is larger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What is drawn with replacement: examples, or whole groups of them."""

    of_example: Int[np.ndarray, " n"]
    """The unit of every example, in [0, num)."""
    num: int
    """How many units there are."""
    grouped: bool
    """Whether some unit holds several examples."""


def units(num_examples: int, groups: Shaped[np.ndarray, " n"] | None) -> Units:
    """The units of resampling; groups of one example each are no groups."""
    if groups is not None:
        names, of_example = np.unique(groups, return_inverse=True)
        if len(names) < num_examples:
            return Units(of_example=of_example, num=len(names), grouped=True)
    return Units(of_example=np.arange(num_examples), num=num_examples, grouped=False)


def resamples(drawn: Units, num_resamples: int, seed: int) -> Iterator[Float[np.ndarray, "b n"]]:
    """Weights of `num_resamples` draws of as many units as there are, with replacement, in blocks."""
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    block = max(1, _BLOCK // len(drawn.of_example))
    for start in range(0, num_resamples, block):
        rows = min(block, num_resamples - start)
        picks = rng.integers(0, drawn.num, (rows, drawn.num))
        picks += drawn.num * np.arange(rows)[:, None]
        times = np.bincount(picks.ravel(), minlength=rows * drawn.num).reshape(rows, drawn.num).astype(np.float64)
        yield np.take(times, drawn.of_example, axis=1) if drawn.grouped else times


def leave_outs(drawn: Units, seed: int, num_parts: int = 200) -> Iterator[Float[np.ndarray, "b n"]]:
    """Weights that leave out one unit each, or one of `num_parts` random sets of units when there are more."""
    rng = np.random.default_rng(derive_seed(seed, "jackknife"))
    num_parts = min(num_parts, drawn.num)
    part = rng.permutation(np.arange(drawn.num) % num_parts)[drawn.of_example]
    block = max(1, _BLOCK // len(part))
    for start in range(0, num_parts, block):
        left_out = np.arange(start, min(start + block, num_parts))
        yield (part[None, :] != left_out[:, None]).astype(np.float64)
