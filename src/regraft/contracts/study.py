"""Studies: a published claim about architectures, the arms trained to test it, and the effects that decide the verdict.

A file in `lab/` defines one study as `ENTRY`; `regraft lab` trains it with the code of `regraft sweep`. Does not import
torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from regraft.registry import Shelf

Measure = Literal["accuracy", "gap", "signal", "parameters", "multiply_adds"]
Outcome = Literal["as claimed", "in part", "not here", "not resolved at this scale"]

MEASURES: Mapping[Measure, str] = {
    "accuracy": "share of the test examples predicted correctly",
    "gap": "training accuracy minus test accuracy: overfitting",
    "signal": "log10 of the gradient magnitude (RMS over parameters, mean over steps) in the lowest third of "
    "the stages, relative to the highest third",
    "parameters": "ratio of the parameter counts of the finished models",
    "multiply_adds": "ratio of the multiply-adds per example",
}
"""Quantities whose difference or ratio is an effect. Counted ones are exact and have no interval."""
COUNTED: tuple[Measure, ...] = ("parameters", "multiply_adds")
RANGES: Mapping[Measure, tuple[float, float]] = {"accuracy": (0.0, 1.0), "gap": (-1.0, 1.0)}
"""Range of a measure's mean, if bounded."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to build and train the network."""

    name: str
    """A word or two."""
    title: str
    """One line for people."""
    backbone: str = "googlenet:half"
    """Backbone to train from random initialisation."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `scratch` that differ from the other arms."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference between two arms, and what the claim predicts."""

    name: str
    """Claimed effect in a few words, for the verdict: `more accurate at equal cost`."""
    measure: Measure
    """What is compared."""
    plus: str
    """Name of the arm under test."""
    minus: str
    """Name of the reference arm."""
    share: float = 1.0
    """Share of the training examples to use."""
    above: float = 0.0
    """The claim predicts a difference above this; a negative value is a non-inferiority margin."""
    worth: float = 0.01
    """Minimum relevant difference beyond `above`; smaller ones do not confirm a claim (our choice: one point)."""
    key: bool = True
    """Whether the verdict depends on it; otherwise it is only reported."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim, and how it is tested."""

    title: str
    """The question, in one line."""
    claim: str
    """The claim, in a sentence or two."""
    source: str
    """Publication that makes the claim."""
    measurement: str
    """What is trained and compared, in a few sentences."""
    arms: tuple[Arm, ...]
    """Configurations to train; costs are relative to the first."""
    effects: tuple[Effect, ...]
    """What is compared."""
    shares: tuple[float, ...] = (1.0,)
    """Training-set sizes, as shares of the training examples."""
    says: Mapping[Outcome, str]
    """The verdict's sentence for every outcome."""


STUDIES: Shelf[Study] = Shelf("study", "regraft.lab")
"""Studies by name."""
