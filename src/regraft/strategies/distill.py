"""Knowledge distillation: the network is trained to reproduce the features of a better one, its teacher.

Both process the same view of an example, each with its own preparation. The teacher's features of every example and
view are computed once and stored. The loss is the mean squared error between the network's features, linearly
projected, and the teacher's standardised ones: added to the labels' loss if there are labels, alone if there are none
(`--task features`), where the held-out loss is the main metric. The projector is discarded with labels; without, it is
the head.

Sources: Romero et al. 2015, arXiv:1412.6550 (FitNets: squared error behind a learned regressor), on the last features
alone; Wei et al. 2022, arXiv:2205.14141 (the teacher's features standardised, so that each counts).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from regraft.backbones.opening import named_card
from regraft.contracts.strategy import (
    Asked,
    Fitted,
    Needs,
    Preset,
    Problem,
    Ranges,
    Strategy,
    check_classes,
    check_ranges,
)
from regraft.errors import BadRecipe, BadRequest
from regraft.strategies import training
from regraft.strategies.training import Training, new_tail, planned
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """Options of `distill`."""

    teacher: str = ""
    """The teacher, named as for `--backbone`: `efficientnet_lite2@package`, or the folder of a model."""
    teacher_side: int = 0
    """Side of the teacher's input in grid cells; 0: its default."""
    distance_weight: float = 1.0
    """Weight of the distance to the teacher's features relative to the labels' loss; no effect without labels."""
    batch_norm: Literal["frozen", "train"] = "train"
    """Batch-norm statistics above the cut (scales and shifts are always trained): `frozen` keeps the pretrained ones,
    `train` updates them from batches of at least two examples."""

    RANGES: ClassVar[Ranges] = (("0 or more", "teacher_side"), ("a positive number", "distance_weight"))


PRESETS = {
    "distill": Preset(
        title="every stage, taught by another network, with or without labels",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events; return the model.

    Raises:
        BadRecipe: an option is out of range, or no teacher is named.
        BadRequest: views are not stored (`views` is 0), or the teacher takes another modality.
        BadData: batch-norm statistics cannot be estimated from a single training example.
        TrainingFailed: a loss or a weight is not finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies._taught import Distance, Taught
    from regraft.strategies.loop import train

    check(options)
    check_asked(options, problem.asked)
    (teacher,) = problem.others
    task: Any = problem.task
    unlabelled, taught = task.taught, replace(problem, states=Taught(problem.states, teacher.states))
    if unlabelled:  # its targets are then those of the view that a row shows
        taught = replace(taught, task=replace(task, moves=True))
    tail = new_tail(taught, options, batch_norm=options.batch_norm)
    if not unlabelled:
        tail.terms["distance"] = Distance(taught, options.distance_weight)
    schedule = yield from planned(tail, taught, options)
    card = teacher.backbone.card
    said = {
        "teacher": {"name": card.name, "digest": teacher.backbone.digest(),
                    "licence": card.licence, "trained_on": card.trained_on}
    }  # fmt: skip
    fitted = yield from train(tail, taught, options, schedule, strategy="distill")
    return replace(fitted, facts={**fitted.facts, **said})


def check(options: Options) -> None:
    """Raise `BadRecipe` if an option is out of range, or no teacher is named."""
    check_ranges(options)
    if not options.teacher:
        raise BadRecipe(
            "options.teacher is empty: distillation requires a teacher network.",
            fix="use --set options.teacher=efficientnet_lite2@package, or another backbone listed by `regraft "
            "backbones`.",
        )


def needs(options: Options) -> Needs:
    """Return what `options` require: the teacher's features."""
    return replace(training.needs(options), others=((options.teacher, options.teacher_side),))


def check_asked(options: Options, asked: Asked) -> None:
    """Reject options that do not suit the problem.

    Raises:
        BadRecipe: an option does not apply to this task.
        UnknownName: there is no teacher of that name.
        BadRequest: the teacher takes another modality, or views are not stored.
    """
    check_classes(options, asked)
    card, own = named_card(options.teacher)[1], asked.backbone.card
    if card.modality != own.modality:
        raise BadRequest(
            f"The teacher {options.teacher} takes {card.modality} data, but {own.name} takes {own.modality}.",
            fix="choose a teacher for the same kind of data.",
        )
    if asked.num_views is None:
        raise BadRequest(
            "Views are redrawn every epoch, but distillation needs stored views, each seen by the teacher once.",
            fix="use --views 4, for example, and leave out augment.on_device.",
        )


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
