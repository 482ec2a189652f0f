"""Fine-tuning: train the head and every stage above the cut, lower stages more gently."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

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
from regraft.errors import BadRecipe
from regraft.strategies import training
from regraft.strategies.training import Training, new_tail, planned
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """What a recipe may set for `finetune`."""

    batch_norm: Literal["auto", "frozen", "train", "recalibrate"] = "frozen"
    """What happens to batch norm's statistics above the cut (its scales and shifts are always trained): `frozen` keeps
    them; `train` follows the batches, of two examples or more; `auto` is `train` from 2,000 examples and batches of 16
    on, else `frozen`; `recalibrate` measures them once on the training examples and then keeps them."""
    mixup: float = 0.0
    """Alpha of mixup, 0.2 for instance; 0: none. Each step mixes the states at the cut in pairs, by a share drawn from
    Beta(alpha, alpha), and the losses of both targets by the same share. At cut `input` that mixes inputs."""
    cutmix: float = 0.0
    """Alpha of cutmix, 1 for instance; 0: none. At cut `input` alone: an area of each input is another's. With mixup as
    well, each step draws one of the two."""
    side_heads: bool = False
    """Whether the backbone's auxiliary heads above the cut are trained along; they never enter a bundle. An error
    where there are none."""
    regulariser: str = ""
    """What holds training back to the pretrained network where data are scarce: a name that
    `regraft strategies finetune` lists, or none. One that stands in for weight decay switches that off."""
    regulariser_weight: float = 0.0
    """Factor on the regulariser's term, 0 or more; 0: the published one."""

    RANGES: ClassVar[Ranges] = (("0 or more", "mixup cutmix regulariser_weight"),)


# Where everything is trained, gentler rates are as accurate (docs/results/defaults.md), and a high one serves `scratch`
# too. LP-FT keeps the statistics: its head was solved for them. The values are literals: listings read them without
# importing anything.
PRESETS = {
    "partial": Preset(
        title="the stages above an inner cut and the head, starting from the solved probe head",
        cut=None,
        options={"init": "probe"},
        views=4,
    ),
    "full": Preset(
        title="every stage and the head",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train"},
        views=0,
    ),
    "lp_ft": Preset(
        title="every stage, starting from the solved probe head",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "init": "probe"},
        views=0,
    ),
    "scratch": Preset(
        title="every stage from random weights: the control without transfer",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train", "epochs": 60, "patience": 20},
        views=0,
        random_weights=True,
    ),
    "pretrain": Preset(
        title="every stage from random weights, for features that other tasks start from",
        cut="input",
        options={"lr": 1e-3, "head_lr_factor": 1.0, "decay": 1.0, "batch_norm": "train", "epochs": 60, "patience": 20},
        views=0,
        random_weights=True,
    ),
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events as it goes; returns the model.

    Raises:
        BadRecipe: an option is out of range.
        UnknownName: there is no such regulariser.
        BadRequest: something is asked for that cannot be had with this network, cut or task, or mixing where states
            cannot be mixed.
        BadData: there is one training example, and batch norm is to measure its statistics, or rows are compared.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies.loop import train

    check(options)
    check_asked(options, problem.asked)
    policy, mixing = options.batch_norm, None
    if policy == "auto":
        policy = "train" if len(problem.train) >= 2000 and options.batch >= 16 else "frozen"
    tail = new_tail(problem, options, batch_norm=policy, side_heads=options.side_heads)
    if options.regulariser:
        from regraft.strategies.regularisers.regulariser import build

        tail.terms["regulariser"] = build(options.regulariser, problem, tail, options.regulariser_weight)
    if options.mixup or options.cutmix:
        from regraft.strategies._mixing import mixing_of

        mixing = mixing_of(tail, problem, mixup=options.mixup, cutmix=options.cutmix)
    schedule = yield from planned(tail, problem, options, mixing=mixing)
    return (yield from train(tail, problem, options, schedule, strategy="finetune"))


def check(options: Options) -> None:
    """Raises: BadRecipe: a value lies outside its range, or two contradict each other; the message says which."""
    check_ranges(options)
    if options.init == "probe" and options.batch_norm == "recalibrate":
        raise BadRecipe(
            "options.init is probe and options.batch_norm recalibrate, but the probe is solved for the old statistics.",
            fix="--set options.init=zero, or leave batch_norm out.",
        )
    if options.regulariser and (options.mixup or options.cutmix):
        mixed = "mixup" if options.mixup else "cutmix"
        raise BadRecipe(
            f"options.regulariser is {options.regulariser} and options.{mixed} mixes examples, but it compares each "
            "example with the untouched network or with its own class.",
            fix=f"leave one of them out: --set options.{mixed}=0.",
        )
    if options.regulariser_weight and not options.regulariser:
        raise BadRecipe(
            f"options.regulariser_weight is {options.regulariser_weight}, but no regulariser is named.",
            fix="--set options.regulariser=NAME, or leave the weight out.",
        )


def needs(options: Options) -> Needs:
    """The top states and the solved probe, where training starts from it or is held back to what was pretrained."""
    wanted = training.needs(options)
    if not options.regulariser:
        return wanted
    from regraft.strategies.regularisers.regulariser import REGULARISERS

    return replace(wanted, top=True, start=wanted.start or REGULARISERS.get(options.regulariser).needs_start)


def check_asked(options: Options, asked: Asked) -> None:
    """
    Raises:
        BadRecipe: an option makes no sense for this task.
        UnknownName: there is no such regulariser.
        BadRequest: what is asked for cannot be had with this network, cut or task.
    """
    check_classes(options, asked)
    if options.side_heads:
        from regraft.strategies.tail import side_heads_above

        side_heads_above(asked.backbone.network, asked.cut)
    if options.cutmix:
        from regraft.strategies._mixing import check_cutmix

        check_cutmix(options.cutmix, asked.cut)
    if options.regulariser:
        from regraft.strategies.regularisers.regulariser import check as check_regulariser

        check_regulariser(options.regulariser, asked)


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
