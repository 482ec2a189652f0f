"""The examples of a study: whom the arms learn from, on whom they are tried, and the classes that none of them sees.

Letters: n examples of the data set, p to learn from, q to be tried on, k of a draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.activations.stored import DeviceStates, FreshStates
from regraft.contracts.task import Task
from regraft.identity import derive_seed


@dataclass(frozen=True, kw_only=True, eq=False)
class Others:
    """Classes that no arm is trained on, for probes of the features."""

    task: Task
    """The question that they pose."""
    targets: Int[np.ndarray, "n"]
    """Class of every example among them; 0 where it is of none."""
    train: Int[np.ndarray, "p"]
    """Positions that the probe is solved on."""
    test: Int[np.ndarray, "q"]
    """Positions that it is tried on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Everything a study knows of its data. Positions are those of one list of examples, as the states have it."""

    states: FreshStates | DeviceStates
    """At cut `input`, a new view every epoch."""
    task: Task
    """The question that the trained classes pose."""
    targets: Int[np.ndarray, "n"]
    """Class of every example among the trained ones; 0 where it is of none."""
    groups: Int[np.ndarray, "n"]
    """Group of every example; a group lies in one part."""
    pool: Int[np.ndarray, "p"]
    """Positions that training examples are drawn from."""
    test: Int[np.ndarray, "q"]
    """Positions that all arms are tried on."""
    units: Int[np.ndarray, "q"] | None
    """The user's group of every test example, for intervals; None where there are none."""
    others: Others | None
    """Classes that no arm is trained on; None where there are too few."""
    sizes: tuple[int, ...]
    """Training examples of a class, falling."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the page: name, classes, counts, fingerprint."""

    def drawn(self, size: int, seed: int) -> Int[np.ndarray, "k"]:
        """`size` examples of every class from the pool, or all where it has fewer; of one seed, a larger draw holds the
        smaller ones."""
        order = np.random.default_rng(derive_seed(seed, "lab", "draw")).permutation(self.pool)
        classes = self.targets[order]
        return np.sort(np.concatenate([order[classes == one][:size] for one in range(len(self.task.classes))]))
