"""Checks of an audit, and the data they have access to. Files in `auditing/checks/` define them.

Letters: n examples, m pairs, d features, c outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.contracts.example import Example
from regraft.contracts.family import Card
from regraft.contracts.modality import Modality, Trait
from regraft.contracts.page import Finding
from regraft.contracts.task import Task
from regraft.registry import Shelf


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionView:
    """Labelled data for checks: opened, fingerprinted, and, if a check needs it, with features of a backbone."""

    data: str
    """Path of the data, as used in commands."""
    examples: Sequence[Example]
    """All examples; checks use positions, and ids in their findings."""
    modality: Modality
    """Modality of the examples."""
    task: Task
    """Task of the labels."""
    targets: Shaped[np.ndarray, "n ..."]
    """Target of every example."""
    prints: Shaped[np.ndarray, " n"]
    """Scan rows: file size, fingerprint."""
    decoded: Sequence[str]
    """Digest of each decoded example; empty if it cannot be read."""
    groups: Int[np.ndarray, " n"] | None
    """Groups given by the user; None if there are none."""
    card: Card
    """Card of the backbone."""
    seed: int = 0
    """Random seed."""
    features: Float[np.ndarray, "n d"] | None = None
    """Features of every example; nan if it cannot be read. None if no check needs them, or the backbone cannot take the
    examples."""
    probabilities: Float[np.ndarray, "n c"] | None = None
    """Out-of-fold probabilities of a linear probe on these features, trained without the example and its group; nan if
    no other fold contains its class. None without features, or if the task has no probabilities."""
    record: Callable[[int], Mapping[str, np.ndarray]] | None = None
    """position -> the example's prepared input; None as for `features`."""

    @cached_property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Whether the example can be read."""
        return np.array([bool(one) for one in self.decoded], dtype=bool)

    @cached_property
    def splits(self) -> Shaped[np.ndarray, " n"]:
        """Split of every example; empty if there are no predefined splits."""
        return np.array([one.split or "" for one in self.examples], dtype="U5")

    @cached_property
    def same(self) -> Int[np.ndarray, " n"]:
        """Position of the first example with the same decoded content; the example itself if it cannot be read."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(one or f"#{at}", at) for at, one in enumerate(self.decoded)], dtype=np.int64)

    @cached_property
    def near(self) -> Int[np.ndarray, "m 2"]:
        """Near-duplicates by fingerprint, lower position first; the first of several equal examples represents them
        all."""
        return self.modality.near_copies(self.prints)

    @cached_property
    def traits(self) -> Sequence[Trait]:
        """Measurements of the examples that do not depend on their subjects."""
        same = self.card.modality == self.modality.name
        return self.modality.traits(self.prints, self.card.preparation) if same else ()

    def ids(self, positions: Any) -> tuple[str, ...]:
        """Return the ids at these positions, in order; pairs are flattened."""
        return tuple(self.examples[at].id for at in np.ravel(positions).tolist())

    def crossing(self, pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        """Return which pairs span two splits."""
        return self.splits[pairs[:, 0]] != self.splits[pairs[:, 1]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of an audit."""

    title: str
    """What is checked, in a few words."""
    run: Callable[[SessionView], Iterator[Finding]]
    """Yield findings; nothing if there is no problem."""
    needs_features: bool = False
    """Whether it uses `features`, `probabilities` or `record`."""


CHECKS: Shelf[Check] = Shelf("check", "regraft.auditing.checks")
