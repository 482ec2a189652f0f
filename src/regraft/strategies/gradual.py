"""Gradual unfreezing: the cut falls stage by stage, so that what lies lower changes later, and less.

The states are those at the lowest cut. The head and the unfrozen stages are trained; a stage that is still frozen stays
as it is to the bit and computes in evaluation mode. One schedule of learning rates spans all phases, and the epoch that
is kept may be any of them.

Sources: Howard & Ruder 2018, arXiv:1801.06146, section 3.3 (gradual unfreezing); Kumar et al. 2022, arXiv:2202.10054 (a
head that is solved first keeps the features from harm). Even phases over half of the epochs are our choice.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

from regraft.contracts.strategy import Fitted, Preset, Problem, Ranges, Strategy, check_classes, check_ranges
from regraft.strategies.training import Training, needs, new_tail, planned
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """What a recipe may set for `gradual`."""

    unfreeze_share: float = 0.5
    """Share of all epochs, in [0, 1), over which the stages are unfrozen one after the other, from the top down; in the
    rest all of them are trained."""
    phase_epochs: int = 0
    """Epochs of each phase before the last, in place of `unfreeze_share`; where `epochs` would end before the last
    phase, there are as many more of them. 0: as `unfreeze_share` says."""
    stages_per_phase: int = 1
    """Stages that are unfrozen together."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """What happens to batch norm's statistics in unfrozen stages (scales and shifts are always trained there): `frozen`
    keeps them; `train` follows the batches, of two examples or more."""
    init: Literal["zero", "probe"] = "probe"
    """Where the head starts: at the solved linear probe of the untouched backbone, and then the highest stages are
    trained at once; or at zero, and then the first phase trains the head alone."""

    RANGES: ClassVar[Ranges] = (
        ("0 or more", "phase_epochs"),
        ("1 or more", "stages_per_phase"),
        ("in [0, 1)", "unfreeze_share"),
    )


PRESETS = {
    "gradual": Preset(
        title="the head, then stage after stage from the top down to the cut, from the solved probe head on",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events as it goes; returns the model.

    Raises:
        BadRecipe: an option is out of range.
        BadData: there is one training example, and batch norm is to measure its statistics.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies._steps import Unfreezing
    from regraft.strategies.loop import train

    check_ranges(options)
    check_classes(options, problem.asked)
    tail = new_tail(problem, options, batch_norm=options.batch_norm)
    unfreezing = Unfreezing(
        stages=len(tail.names),
        first=options.stages_per_phase if options.init == "probe" else 0,
        together=options.stages_per_phase,
        share=options.unfreeze_share,
        epochs=options.phase_epochs,
    )
    schedule = yield from planned(tail, problem, options, unfreezing=unfreezing)
    return (yield from train(tail, problem, options, schedule, strategy="gradual"))


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, fit=fit)
