"""What lies on two sides of a division, and what bears two labels. Shapes: n examples."""

import numpy as np
from jaxtyping import Int

from regraft.data.dataset import Dataset
from regraft.data.scan import Scanned
from regraft.words import named

Pair = tuple[int, int]
"""Positions of two examples."""


def crossing(dataset: Dataset, scanned: Scanned, keys: Int[np.ndarray, " n"]) -> list[Pair]:
    """Usable examples with equal keys in different parts: for every key the first of each two parts."""
    first: dict[int, dict[str | None, int]] = {}
    for at in np.flatnonzero(scanned.usable).tolist():
        first.setdefault(int(keys[at]), {}).setdefault(dataset.examples[at].split, at)
    pairs = []
    for parts in first.values():
        places = sorted(parts.values())
        pairs += [(left, right) for spot, left in enumerate(places) for right in places[spot + 1 :]]
    return sorted(pairs)


def report(dataset: Dataset, pairs: list[Pair], what: str) -> list[str]:
    """One clause about all pairs, or none."""
    if not pairs:
        return []
    words = (f"{_name(dataset, left)} and {_name(dataset, right)}" for left, right in pairs)
    return [f"{len(pairs):,} {'pair' if len(pairs) == 1 else 'pairs'} {what} ({named(words, 3)})"]


def conflicting_labels(dataset: Dataset, scanned: Scanned) -> list[str]:
    """A sentence naming examples that occur with two labels, or none."""
    first: dict[str, int] = {}
    pairs = []
    for at in np.flatnonzero(scanned.usable).tolist():
        before = first.setdefault(scanned.decoded[at], at)
        if dataset.examples[before].label != dataset.examples[at].label:
            pairs.append((before, at))
    words = (
        f"{dataset.examples[left].id} ({dataset.examples[left].label}) and "
        f"{dataset.examples[right].id} ({dataset.examples[right].label})"
        for left, right in pairs
    )
    return [f"The same {scanned.modality.one} with two labels, {len(pairs):,} times: {named(words)}."] if pairs else []


def _name(dataset: Dataset, at: int) -> str:
    example = dataset.examples[at]
    return f"{example.id} ({example.split})" if example.row is not None else example.id
