"""What a check of an audit is, and all that it may see. Files in `audit/checks/` define them.

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
    """Labelled data as a check sees them: opened, fingerprinted, and, where a check needs it, seen by a backbone."""

    data: str
    """What to call the data in a command."""
    examples: Sequence[Example]
    """All of them; a check speaks of them by position, and by id in what it finds."""
    modality: Modality
    """What reads them."""
    task: Task
    """What their labels ask."""
    targets: Shaped[np.ndarray, "n ..."]
    """Of every example."""
    prints: Shaped[np.ndarray, " n"]
    """Their rows in a scan: size of the file, fingerprint."""
    decoded: Sequence[str]
    """Digest of what each is decoded to; empty where it cannot be read."""
    groups: Int[np.ndarray, " n"] | None
    """The user's groups; None where there are none."""
    card: Card
    """Of the backbone."""
    seed: int = 0
    """For whatever is drawn."""
    features: Float[np.ndarray, "n d"] | None = None
    """What the backbone makes of every example; nan of those that cannot be read. None: no check of this audit needs
    it, or the backbone cannot take the examples."""
    probabilities: Float[np.ndarray, "n c"] | None = None
    """What a linear probe on these features, trained without the example and its group, says of each; nan where no such
    probe could know its class. None: there are no features, or the outputs are no probabilities."""
    record: Callable[[int], Mapping[str, np.ndarray]] | None = None
    """The record that the backbone is given of an example; None as for `features`."""

    @cached_property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Whether the example can be read."""
        return np.array([bool(one) for one in self.decoded], dtype=bool)

    @cached_property
    def splits(self) -> Shaped[np.ndarray, " n"]:
        """The split of every example; empty where the data come without."""
        return np.array([one.split or "" for one in self.examples], dtype="U5")

    @cached_property
    def same(self) -> Int[np.ndarray, " n"]:
        """The first example that is decoded to the same as each; itself for those that cannot be read."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(one or f"#{at}", at) for at, one in enumerate(self.decoded)], dtype=np.int64)

    @cached_property
    def near(self) -> Int[np.ndarray, "m 2"]:
        """Near copies by fingerprint, lower position first; of equal examples the first stands for all."""
        return self.modality.near_copies(self.prints)

    @cached_property
    def traits(self) -> Sequence[Trait]:
        """What can be said of the examples without looking at what they show."""
        same = self.card.modality == self.modality.name
        return self.modality.traits(self.prints, self.card.preparation) if same else ()

    def ids(self, positions: Any) -> tuple[str, ...]:
        """Ids of the examples at these positions, in their order, pairs one after the other."""
        return tuple(self.examples[at].id for at in np.ravel(positions).tolist())

    def crossing(self, pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        """Which pairs lie in two splits."""
        return self.splits[pairs[:, 0]] != self.splits[pairs[:, 1]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing to look at."""

    title: str
    """What is looked at, in a few words."""
    run: Callable[[SessionView], Iterator[Finding]]
    """Yields what was found; nothing where all is well."""
    needs_features: bool = False
    """Whether it looks at `features`, `probabilities` or `record`."""


CHECKS: Shelf[Check] = Shelf("check", "regraft.audit.checks")
