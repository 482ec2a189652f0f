"""What a study is: a claim with its source, the arms that are trained to test it, and the effects it is judged by.

One public file in `lab/` defines one study, as `ENTRY`; `regraft lab` trains it by the same code as `regraft sweep`.
Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from regraft.registry import Shelf

Measure = Literal["accuracy", "gap", "signal", "parameters", "multiply_adds"]
Outcome = Literal["as claimed", "in part", "not here", "not resolved at this scale"]

MEASURES: Mapping[Measure, str] = {
    "accuracy": "share of the test examples predicted correctly",
    "gap": "training accuracy less test accuracy: overfitting",
    "signal": "log10 of the gradient's size (root mean square over parameters, mean over steps) in the lowest third of "
    "the stages, relative to the highest third",
    "parameters": "ratio of the parameters that a finished model has, counted",
    "multiply_adds": "ratio of the multiply-adds for one example, counted",
}
"""What an effect is a difference of, or the ratio. What is counted is exact, so it has no interval."""
COUNTED: tuple[Measure, ...] = ("parameters", "multiply_adds")
RANGES: Mapping[Measure, tuple[float, float]] = {"accuracy": (0.0, 1.0), "gap": (-1.0, 1.0)}
"""In which the mean of a measure lies, where it is bounded."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to build and train the network."""

    name: str
    """A word or two."""
    title: str
    """One line for people."""
    backbone: str = "googlenet:half"
    """What is built, with random weights."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `scratch` in which it differs from the others."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference of two arms, and what the claim says of it."""

    name: str
    """What is claimed, in a few words that a verdict can list: `more accurate at equal cost`."""
    measure: Measure
    """What is compared."""
    plus: str
    """Name of the arm that is measured."""
    minus: str
    """Name of the arm that it is compared with."""
    share: float = 1.0
    """Of the training examples."""
    above: float = 0.0
    """The claim says that the difference lies above this. Below 0: no worse than by so much."""
    worth: float = 0.01
    """Differences smaller than this, as measured from `above`, do not bear a claim out (our choice: one point)."""
    key: bool = True
    """Whether the verdict rests on it; else it is reported beside it."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim and how it is measured."""

    title: str
    """What is asked, in one line."""
    claim: str
    """What is claimed, in a sentence or two."""
    source: str
    """Who claims it, and where."""
    measurement: str
    """What is trained and compared, in a few sentences."""
    arms: tuple[Arm, ...]
    """What is trained; the first is what costs are measured by."""
    effects: tuple[Effect, ...]
    """What is compared."""
    shares: tuple[float, ...] = (1.0,)
    """Shares of the training examples on which the arms are trained."""
    says: Mapping[Outcome, str]
    """The verdict in one sentence, for every way it may come out."""


STUDIES: Shelf[Study] = Shelf("study", "regraft.lab")
"""Studies of architectures: what is claimed about a network, re-measured. A public file is one study."""
