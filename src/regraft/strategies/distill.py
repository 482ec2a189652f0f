"""Knowledge distillation: the network learns to see what a better one, its teacher, sees.

Both look at the same view of an example, each by its own preparation. The teacher's features of every example and view
are computed once and kept in the store. The loss is the mean squared error of the network's features, linearly
projected, from the teacher's standardised ones: beside the labels' loss where there are labels, alone where there are
none (`--task features`), and then the held-out loss is the main figure. The projector is thrown away with labels, and
is the head without.

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
    """What a recipe may set for `distill`."""

    teacher: str = ""
    """The backbone to learn from, as for `--backbone`: `efficientnet_lite2@package`, or the folder of a model."""
    teacher_side: int = 0
    """Side of the teacher's input, in cells; 0: its own."""
    distance_weight: float = 1.0
    """Factor on the distance from the teacher's features, beside the labels' loss; without labels nothing is beside."""
    batch_norm: Literal["frozen", "train"] = "train"
    """What happens to batch norm's statistics above the cut (its scales and shifts are always trained): `frozen` keeps
    them, `train` follows the batches, of two examples or more."""

    RANGES: ClassVar[Ranges] = (("0 or more", "teacher_side"), ("a positive number", "distance_weight"))


PRESETS = {
    "distill": Preset(
        title="every stage, taught by another network; with labels or without",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events as it goes; returns the model.

    Raises:
        BadRecipe: an option is out of range, or no teacher is named.
        BadRequest: views are made new every epoch, or the teacher takes another kind of data.
        BadData: there is one training example, and batch norm is to measure its statistics.
        TrainingFailed: a loss or a weight is no longer finite.
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
    """Raises: BadRecipe: a value lies outside its range, or no teacher is named; the message says which."""
    check_ranges(options)
    if not options.teacher:
        raise BadRecipe(
            "options.teacher is empty: distillation needs a network to learn from.",
            fix="--set options.teacher=efficientnet_lite2@package, or another that `regraft backbones` lists.",
        )


def needs(options: Options) -> Needs:
    """The teacher's features."""
    return replace(training.needs(options), others=((options.teacher, options.teacher_side),))


def check_asked(options: Options, asked: Asked) -> None:
    """
    Raises:
        BadRecipe: an option makes no sense for this task.
        UnknownName: there is no teacher of that name.
        BadRequest: the teacher takes another kind of data, or views are made new every epoch.
    """
    check_classes(options, asked)
    card, own = named_card(options.teacher)[1], asked.backbone.card
    if card.modality != own.modality:
        raise BadRequest(
            f"The teacher {options.teacher} takes data of the kind {card.modality}, {own.name} of the kind "
            f"{own.modality}.",
            fix="name a teacher that takes the same.",
        )
    if asked.num_views is None:
        raise BadRequest(
            "Views are made new every epoch, but the teacher looks once at each view, which is then kept.",
            fix="--views 4, for instance; and leave augment.on_device out.",
        )


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
