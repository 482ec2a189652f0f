"""Pretraining: every stage from random weights, for features that other tasks will start from.

What serves those is not what serves accuracy on the data at hand: a projector, a contrast of views, class-balanced
sampling, an exponential moving average (EMA) of the weights; and on a large corpus, small inputs first. Sources are
beside each of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from regraft.contracts.strategy import Asked, Preset, Problem, Strategy
from regraft.errors import BadRecipe, BadRequest
from regraft.strategies._options import Ranges
from regraft.strategies.training import FullTraining, needs, new_tail, planned, trained
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options(FullTraining):
    """What a recipe may set for `pretrain`."""

    lr: float = 1e-3
    head_lr_factor: float = 1.0
    decay: float = 1.0
    epochs: int = 60
    patience: int = 20
    batch_norm: Literal["auto", "frozen", "train", "recalibrate"] = "train"
    ema: float = 0.0
    """Share that an exponential moving average (EMA) of the weights keeps at each step, in [0, 1); less in the first
    steps. The EMA is what is validated and kept, batch norm's statistics included. 0: none."""
    class_balance: float = 0.0
    """Class-balanced sampling: how far rare classes are drawn more often than they are found, in [0, 1]. 0: every
    example once an epoch; 1: every class as often as every other; 0.5: by the square root of its size."""
    progressive_resize: float = 1.0
    """Side of the inputs in the first epoch, as a share of the whole, in (0, 1]; it rises evenly, and the last third of
    the epochs sees whole inputs. At cut `input` alone; 1: whole all the time."""
    projector: int = 0
    """Values between the features and the loss, in a projector that alone shapes the features and is thrown away; the
    head learns beside it. What other tasks need is kept. 0: the head shapes the features."""
    contrast: float = 0.0
    """Weight of a loss that draws two views of an example together and apart from all others (SimCLR's), behind a
    projector that is thrown away; 0: none. Every batch then holds half as many examples, each in two views."""

    RANGES: ClassVar[Ranges] = (
        ("0 or more", "projector contrast"),
        ("in [0, 1)", "ema"),
        ("in [0, 1]", "class_balance"),
        ("in (0, 1]", "progressive_resize"),
    )


PRESETS = {
    "pretrain": Preset(
        title="every stage from random weights, for features that other tasks start from",
        cut="input",
        options={},
        views=0,
        random_weights=True,
    )
}


def fit(problem: Problem, options: Options) -> Iterator[Event]:
    """Train on `problem`, yielding events as it goes and one `Fitted` at the end.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: something is asked for that cannot be had with this network, cut or task, or mixing where states
            cannot be mixed.
        BadData: there is one training example, and batch norm is to measure its statistics.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies._pretraining import draws_of, resize_of, terms_of

    check(options)
    check_asked(options, problem.asked)
    tail = new_tail(
        problem,
        options,
        batch_norm=options.policy(len(problem.train)),
        side_heads=options.side_heads,
        terms=lambda: terms_of(problem, options),
        head_apart=bool(options.projector),
    )
    together = max(1, options.batch // 2) if options.contrast else options.batch
    schedule = yield from planned(tail, problem, options, step_examples=together)
    schedule = replace(
        schedule,
        optimiser=options.optimiser,
        ema=options.ema,
        mixing=options.mixing(tail, problem),
        change=resize_of(problem.asked, options.progressive_resize),
        draws=draws_of(problem, options, together, tail.min_rows),
    )
    yield from trained(tail, problem, options, schedule, strategy="pretrain")


def check(options: Options) -> None:
    """Raises: BadRecipe: a value lies outside its range, or two contradict each other; the message says which."""
    options.check()
    if options.contrast and (options.mixup or options.cutmix):
        raise BadRecipe(
            f"options.contrast is {options.contrast} and examples are mixed, but a mixed example has no other view.",
            fix="leave options.mixup and options.cutmix out, or options.contrast.",
        )


def check_asked(options: Options, asked: Asked) -> None:
    """
    Raises:
        BadRecipe: an option makes no sense for this task.
        BadRequest: what is asked for cannot be had with this network, cut, task or number of views.
    """
    from regraft.strategies._pretraining import resize_of

    options.check_asked(asked)
    asked.task.check(class_balance=options.class_balance)
    if options.contrast and asked.num_views == 1:
        raise BadRequest(
            f"options.contrast is {options.contrast}, but one view of each example is kept; two are compared.",
            fix="--views 2 or more, or 0 where views are made new; and an augmentation under which they differ.",
        )
    resize_of(asked, options.progressive_resize)


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
