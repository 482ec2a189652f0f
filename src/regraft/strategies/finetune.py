"""Fine-tuning: train the head and all stages above the cut, with lower learning rates for lower stages."""

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
    """Options of `finetune`."""

    batch_norm: Literal["auto", "frozen", "train", "recalibrate"] = "frozen"
    """Batch-norm statistics above the cut (scales and shifts are always trained). `frozen`: keep the pretrained ones.
    `train`: update them from batches of at least two examples. `auto`: `train` from 2,000 examples and batches of 16
    on, else `frozen`. `recalibrate`: estimate them once on the training examples, then keep them."""
    mixup: float = 0.0
    """Alpha of mixup, for instance 0.2; 0: off. Each step mixes pairs of states at the cut with a weight drawn from
    Beta(alpha, alpha), and their losses with the same weight. At cut `input` this mixes the inputs."""
    cutmix: float = 0.0
    """Alpha of CutMix, for instance 1; 0: off. At cut `input` only: a rectangle of each input is replaced by another
    input's. With mixup as well, each step uses one of the two at random."""
    side_heads: bool = False
    """Whether to train the backbone's auxiliary heads above the cut as well; they are not saved in bundles. An error if
    there are none."""
    regulariser: str = ""
    """Regulariser that keeps training close to the pretrained network on small data sets: a name listed by `regraft
    strategies finetune`, or empty. Some replace weight decay, which is then off."""
    regulariser_weight: float = 0.0
    """Weight of the regulariser's term, 0 or more; 0: the published value."""

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
    """Train on `problem`, yielding events; return the model.

    Raises:
        BadRecipe: an option is out of range.
        UnknownName: there is no such regulariser.
        BadRequest: the network, cut or task does not support an option, or the states cannot be mixed.
        BadData: there is only one training example, but batch norm or a regulariser needs two.
        TrainingFailed: a loss or a weight is not finite.
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
    """Raise `BadRecipe` if an option is out of range, or two options contradict each other."""
    check_ranges(options)
    if options.init == "probe" and options.batch_norm == "recalibrate":
        raise BadRecipe(
            "options.init is probe and options.batch_norm recalibrate, but the probe was solved with the old "
            "statistics.",
            fix="use --set options.init=zero, or leave out batch_norm.",
        )
    if options.regulariser and (options.mixup or options.cutmix):
        mixed = "mixup" if options.mixup else "cutmix"
        raise BadRecipe(
            f"options.regulariser is {options.regulariser} and options.{mixed} mixes examples, but it compares each "
            "example with the untouched network or with its own class.",
            fix=f"leave out one of them: --set options.{mixed}=0.",
        )
    if options.regulariser_weight and not options.regulariser:
        raise BadRecipe(
            f"options.regulariser_weight is {options.regulariser_weight}, but no regulariser is set.",
            fix="use --set options.regulariser=NAME, or leave out the weight.",
        )


def needs(options: Options) -> Needs:
    """Return what `options` require: readouts and the solved probe, to start from or to regularise towards."""
    wanted = training.needs(options)
    if not options.regulariser:
        return wanted
    from regraft.strategies.regularisers.regulariser import REGULARISERS

    return replace(wanted, top=True, start=wanted.start or REGULARISERS.get(options.regulariser).needs_start)


def check_asked(options: Options, asked: Asked) -> None:
    """Reject options that do not suit the problem.

    Raises:
        BadRecipe: an option does not apply to this task.
        UnknownName: there is no such regulariser.
        BadRequest: this network, cut or task does not support an option.
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
