"""What all arms of a study share: how large it is, and its examples.

Letters: n examples of the data set, p to learn from, q to be tried on, k of a draw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.activations.stored import DeviceStates, FreshStates
from regraft.contracts.task import Task
from regraft.identity import derive_seed


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all arms of a study share."""

    name: str
    """What the command calls it."""
    num_classes: int
    """Classes to tell apart, at most."""
    num_others: int
    """Classes that are never trained on, for probes of the features; at most half of all there are."""
    sizes: tuple[int, ...]
    """Training examples of a class, falling; at most as many as there are."""
    test_per_class: int
    """Test examples of a class, at most; data without splits are split in proportion."""
    input_px: int
    """Side of the square input in pixels."""
    width: float
    """Width of the first arm, relative to the published network."""
    steps: int
    """Steps of the optimiser, to the nearest whole epoch: the same for every arm, nearly so for every training size."""
    batch: int
    """Examples of a step, at most."""
    lr: float = 1e-3
    """Peak learning rate; that of the preset `scratch`."""
    seeds: int = 5
    """How often everything that is drawn is drawn again."""
    half: bool = False
    """Whether training computes in bfloat16 where the machine has instructions for it."""


SMALL = Setting(
    name="small", num_classes=20, num_others=10, sizes=(150, 50, 20), test_per_class=100, input_px=64, width=0.5,
    steps=1130, batch=16,
)  # fmt: skip
"""For two cores: about a minute for most cells."""
LONG = replace(SMALL, name="long", steps=1700, batch=64, half=True, seeds=3)
"""The small one, shown six times the examples in larger batches, so that arms that learn slowly get further. For two
cores in the background: two or three minutes for most cells."""
FULL = Setting(
    name="full", num_classes=150, num_others=40, sizes=(150, 50, 20), test_per_class=100, input_px=64, width=1.0,
    steps=6000, batch=128, half=True,
)  # fmt: skip
"""For a GPU."""
SETTINGS = {one.name: one for one in (SMALL, LONG, FULL)}
"""All of them by name."""


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
