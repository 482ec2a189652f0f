"""Gradual unfreezing: stages are unfrozen from the top down, so that lower stages change later and less.

The states are those at the lowest cut. The head and the unfrozen stages are trained; stages that are still frozen do
not change at all and run in evaluation mode. One schedule of learning rates spans all phases, and the epoch that is
kept may be in any of them.

Sources: Howard & Ruder 2018, arXiv:1801.06146, section 3.3 (gradual unfreezing); Kumar et al. 2022, arXiv:2202.10054 (a
solved head protects the pretrained features). Phases of equal length over half of the epochs are our choice.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

from regraft.contracts.strategy import Fitted, Preset, Problem, Ranges, Strategy, check_classes, check_ranges
from regraft.strategies.training import Training, needs, new_tail, planned
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """Options of `gradual`."""

    unfreeze_share: float = 0.5
    """Share of all epochs, in [0, 1), over which stages are unfrozen one after the other, from the top down; afterwards
    all are trained."""
    phase_epochs: int = 0
    """Epochs of each phase before the last, instead of `unfreeze_share`; `epochs` is raised if it would end before the
    last phase. 0: use `unfreeze_share`."""
    stages_per_phase: int = 1
    """Number of stages to unfreeze at once."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """Batch-norm statistics in unfrozen stages (scales and shifts are always trained): `frozen` keeps the pretrained
    ones; `train` updates them from batches of at least two examples."""
    init: Literal["zero", "probe"] = "probe"
    """Initial head: the solved linear probe of the pretrained backbone, and the highest stages are trained from the
    start; or zero, and the first phase trains only the head."""

    RANGES: ClassVar[Ranges] = (
        ("0 or more", "phase_epochs"),
        ("1 or more", "stages_per_phase"),
        ("in [0, 1)", "unfreeze_share"),
    )


PRESETS = {
    "gradual": Preset(
        title="the head, then stage after stage from the top down to the cut, starting from the solved probe head",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events; return the model.

    Raises:
        BadRecipe: an option is out of range.
        BadData: batch-norm statistics cannot be estimated from a single training example.
        TrainingFailed: a loss or a weight is not finite.
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
