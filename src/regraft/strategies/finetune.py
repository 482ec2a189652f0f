"""Fine-tuning: train the head and every stage above the cut, lower stages more gently.

Sources: Yosinski et al. 2014, arXiv:1411.1792 (early layers transfer, late ones specialise); Howard & Ruder 2018,
arXiv:1801.06146 (a rate per layer); Kumar et al. 2022, arXiv:2202.10054 (start from the solved probe head). The
defaults are our choice, measured in docs/results.
"""

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from regraft.contracts.strategy import Asked, Fitted, Needs, Preset, Problem, Strategy
from regraft.errors import BadData, BadRecipe, BadRequest
from regraft.identity import derive_seed
from regraft.strategies import probe
from regraft.strategies._options import count, not_negative, positive, refuse_others, share
from regraft.values import Event, Json, Notice

if TYPE_CHECKING:
    from regraft.strategies._phases import Phases
    from regraft.strategies._tail import Tail

    Adapt = Callable[[Tail], Generator[Event, None, Callable[[Fitted], Fitted]]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe may set for `finetune`."""

    lr: float = 1e-4
    """Peak learning rate of the highest stage; SGD needs hundreds of times as much as AdamW."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """What turns gradients into steps: AdamW, or SGD with Nesterov's momentum of 0.9 (for pretraining: 0.4 and a weight
    decay of 0.0001 for instance)."""
    head_lr_factor: float = 10.0
    """Peak rate of the head and of side heads, as a multiple of `lr`."""
    decay: float = 0.8
    """Factor on the rate from each stage to the one below it, in (0, 1]."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, a share per unit of rate, or that of SGD, in the gradient; on weights of layers,
    not on biases and norms."""
    epochs: int = 20
    """Passes over the training examples."""
    min_steps: int = 150
    """Small data get more epochs than `epochs`, until there are this many steps in all."""
    batch: int = 32
    """Examples per step, at most: an epoch is cut into batches of like size."""
    warmup_share: float = 0.1
    """Share of all steps, in [0, 1], over which the rates rise evenly to their peaks; a cosine to zero follows."""
    patience: int = 8
    """Epochs without a lower validation loss before training stops; 0: never. The best epoch's weights are kept.
    Without validation examples (fewer than fifty count as none) the number of steps is fixed."""
    smoothing: float = 0.0
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool = False
    """Whether every class weighs the same in training and validation loss, however frequent it is."""
    batch_norm: Literal["auto", "frozen", "train", "recalibrate"] = "frozen"
    """What happens to batch norm's statistics above the cut (its scales and shifts are always trained): `frozen` keeps
    them; `train` follows the batches, of two examples or more; `auto` is `train` from 2,000 examples and batches of 16
    on, else `frozen`; `recalibrate` measures them once on the training examples and then keeps them."""
    dropout: float = 0.0
    """Dropout before the head, in [0, 1)."""
    mixup: float = 0.0
    """Alpha of mixup, 0.2 for instance; 0: none. Each step mixes the states at the cut in pairs, by a share drawn from
    Beta(alpha, alpha), and the losses of both targets by the same share. At cut `input` that mixes inputs."""
    cutmix: float = 0.0
    """Alpha of cutmix, 1 for instance; 0: none. At cut `input` alone: an area of each input is another's. With mixup as
    well, each step draws one of the two."""
    clip_norm: float = 1.0
    """Largest Euclidean norm of the gradient, which is scaled down to it; 0: no limit."""
    init: Literal["zero", "probe"] = "zero"
    """Where the head starts: at zero, or at the solved linear probe of the untouched backbone (LP-FT)."""
    side_heads: bool = False
    """Whether the backbone's auxiliary heads above the cut are trained along; they never enter a bundle. An error
    where there are none."""
    regulariser: str = ""
    """What holds training back to the pretrained network where data are scarce: a name that
    `regraft strategies finetune` lists, or none. One that stands in for weight decay switches that off."""
    regulariser_weight: float = 0.0
    """Factor on the regulariser's term, 0 or more; 0: the published one."""
    average: float = 0.0
    """Share that an exponential moving average (EMA) of the weights keeps at each step, in [0, 1); less in the first
    steps. The average is what is judged and kept, batch norm's statistics included. 0: no average."""
    half: bool = False
    """Whether training computes in bfloat16 on CUDA and on processors made for it (AVX512-BF16, AMX): less exact; wide
    convolutions gain time, depthwise ones lose it. Elsewhere it changes nothing."""
    resample: float = 0.0
    """How far rare classes are drawn more often than they are found, in [0, 1]. 0: every example once an epoch; 1:
    every class as often as every other; 0.5: by the square root of its size."""
    projector: int = 0
    """Values between the features and the loss, in a projector that alone shapes the features and is thrown away; the
    head learns beside it. For pretraining: what other tasks need is kept. 0: the head shapes the features."""
    contrast: float = 0.0
    """Weight of a loss that draws two views of an example together and apart from all others (SimCLR's), behind a
    projector that is thrown away; 0: none. Every batch then holds half as many examples, each in two views. For
    pretraining: features that serve other tasks too."""
    start_side: float = 1.0
    """Side of the inputs in the first epoch, as a share of the whole, in (0, 1]; it rises evenly, and the last third of
    the epochs sees whole inputs. At cut `input` alone; 1: whole all the time."""


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
}


def fit(problem: Problem, options: Options) -> Iterator[Event]:
    """Train on `problem`, yielding events as it goes and one `Fitted` at the end.

    Raises:
        BadRecipe: an option is out of range.
        UnknownName: there is no such regulariser.
        BadRequest: something is asked for that cannot be had with this network, cut or task, or mixing where states
            cannot be mixed.
        BadData: there is one training example, and batch norm is to measure its statistics, or rows are compared.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    check(options)
    yield from tune(problem, options, settings={"strategy": "finetune", **asdict(options)})


def tune(
    problem: Problem,
    options: Options,
    *,
    settings: Json,
    phases: "Phases | None" = None,
    adapt: "Adapt | None" = None,
) -> Iterator[Event]:
    """As `fit`, for strategies that tune in another way: `settings` names the run in its checkpoint, `phases` say when
    which stages are trained, and `adapt` changes the new tail and returns what the trained model goes through at last.
    """
    import torch

    from regraft.strategies._batches import num_batches
    from regraft.strategies._contrast import Contrast
    from regraft.strategies._growth import growth_of
    from regraft.strategies._half import has_bfloat16
    from regraft.strategies._loop import train
    from regraft.strategies._mixing import mixing_of
    from regraft.strategies._projector import Projector
    from regraft.strategies._schedule import Schedule
    from regraft.strategies._seeded import seeded
    from regraft.strategies._tail import Tail
    from regraft.strategies.regularisers._contract import build

    check_asked(options, problem.asked)
    policy = options.batch_norm
    if policy == "auto":
        policy = "train" if len(problem.train) >= 2000 and options.batch >= 16 else "frozen"
    sides = problem.task.num_outputs if options.side_heads else 0
    with seeded(derive_seed(problem.seed, "tail")):
        head = problem.task.head(problem.backbone.card.width, options.dropout)
        network = problem.backbone.fresh_network()
        projector = None
        if options.projector:
            projector = Projector(problem.backbone.card.width, options.projector, problem.task.num_outputs)
        tail = Tail(
            network,
            problem.cut,
            head,
            problem.task.view,
            batch_norm=policy,
            side_outputs=sides,
            projector=projector,
            contrast=Contrast(problem.backbone.card.width, options.contrast) if options.contrast else None,
        )
    if len(problem.train) < 2 and (policy != "frozen" or sides or projector or options.contrast):
        raise BadData(
            f"Batch norm cannot measure its statistics on {len(problem.train)} training example; it needs 2 or more.",
            fix="--set options.batch_norm=frozen and leave side heads, projector and contrast out, or add examples.",
        )
    if options.regulariser:
        tail.regulariser = build(options.regulariser, problem, tail, options.regulariser_weight)
        options = replace(options, weight_decay=0.0 if tail.regulariser.replaces_decay else options.weight_decay)
    if (half := options.half) and not has_bfloat16(torch.device(problem.device)):
        half = False
        yield Notice(text="This machine has no instructions for bfloat16: training computes in float32.", topic="half")
    together = options.batch // 2 if options.contrast else options.batch
    steps = num_batches(len(problem.train), max(1, together), tail.least_rows)
    schedule = Schedule(
        epochs=max(options.epochs, math.ceil(options.min_steps / steps), phases.least if phases else 1),
        batch=options.batch,
        warmup_share=options.warmup_share,
        patience=options.patience,
        clip_norm=options.clip_norm,
        smoothing=options.smoothing,
        balanced=options.balanced,
        phases=phases,
        judge_start=options.init == "probe",
        average=options.average,
        half=half,
        resample=options.resample,
        optimiser=options.optimiser,
        growth=growth_of(problem.asked, options.start_side),
        mixing=mixing_of(tail, problem, mixup=options.mixup, cutmix=options.cutmix),
    )
    finish = (yield from adapt(tail)) if adapt is not None else None
    groups = groups_of(tail, options)
    for event in train(
        tail, problem, groups, schedule, settings=settings, prepare=lambda: _prepare(tail, problem, options)
    ):
        yield finish(event) if finish is not None and isinstance(event, Fitted) else event


def _prepare(tail: "Tail", problem: Problem, options: Options) -> Generator[Event, None, dict[str, Any]]:
    """First values of the head and of batch norm's statistics; returns what there is to say of them."""
    import torch

    facts: dict[str, Any] = {"batch_norm": tail.batch_norm, "trained_stages": list(tail.names)}
    if options.init == "probe":
        for event in probe.fit(problem, probe.Options(balanced=options.balanced)):
            if isinstance(event, Fitted):
                tail.load({name: torch.from_numpy(array) for name, array in event.tensors.items()})
                facts["probe"] = dict(event.facts)
            else:
                yield event
    if tail.batch_norm == "recalibrate":
        from regraft.strategies._recalibrate import recalibrate

        recalibrate(tail, problem)
        yield Notice(text="Batch-norm statistics above the cut were measured on the training examples.", topic="norm")
    if (held := tail.regulariser) is not None:
        facts["regulariser"] = {"name": options.regulariser, "weight": held.weight, **held.facts}
        for note in held.notes:
            yield Notice(text=note, topic="regulariser")
    return facts


def shared(options: Any) -> Options:
    """Those of another strategy's options that have a name of ours; the others are its own affair."""
    return Options(**{one.name: getattr(options, one.name) for one in fields(Options) if hasattr(options, one.name)})


def check(options: Options, defaults: Any = None) -> None:
    """Raises: BadRecipe: a value lies outside its range, or two contradict each other; the message says which, and
    offers the one of `defaults`, or our own."""
    held = {
        "lr": positive(options.lr),
        "head_lr_factor": positive(options.head_lr_factor),
        "decay": (0 < options.decay <= 1, "in (0, 1]"),
        "weight_decay": not_negative(options.weight_decay),
        "epochs": count(options.epochs),
        "min_steps": not_negative(options.min_steps),
        "batch": count(options.batch),
        "warmup_share": (0 <= options.warmup_share <= 1, "in [0, 1]"),
        "patience": not_negative(options.patience),
        "smoothing": share(options.smoothing),
        "dropout": share(options.dropout),
        "mixup": not_negative(options.mixup),
        "cutmix": not_negative(options.cutmix),
        "clip_norm": not_negative(options.clip_norm),
        "regulariser_weight": not_negative(options.regulariser_weight),
        "average": share(options.average),
        "projector": not_negative(options.projector),
        "contrast": not_negative(options.contrast),
        "resample": (0 <= options.resample <= 1, "in [0, 1]"),
        "start_side": (0 < options.start_side <= 1, "in (0, 1]"),
    }
    refuse_others(options, held, defaults)
    if options.init == "probe" and options.batch_norm == "recalibrate":
        raise BadRecipe(
            "options.init is probe and options.batch_norm recalibrate, but the probe is solved for the old statistics.",
            fix="--set options.init=zero, or leave batch_norm out.",
        )
    if options.contrast and (options.mixup or options.cutmix):
        raise BadRecipe(
            f"options.contrast is {options.contrast} and examples are mixed, but a mixed example has no other view.",
            fix="leave options.mixup and options.cutmix out, or options.contrast.",
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
    """The top states, where training starts from the solved probe or is held back to what was pretrained."""
    return Needs(top=options.init == "probe" or bool(options.regulariser))


def check_asked(options: Options, asked: Asked) -> None:
    """
    Raises:
        BadRecipe: an option makes no sense for this task.
        UnknownName: there is no such regulariser.
        BadRequest: what is asked for cannot be had with this network, cut, task or number of views.
    """
    from regraft.strategies._growth import growth_of
    from regraft.strategies._mixing import check_cutmix
    from regraft.strategies._tail import side_heads_above
    from regraft.strategies.regularisers._contract import check as check_regulariser

    asked.task.check(balanced=options.balanced, smoothing=options.smoothing, resample=options.resample)
    if options.side_heads:
        side_heads_above(asked.backbone.network, asked.cut)
    if options.contrast and asked.num_views == 1:
        raise BadRequest(
            f"options.contrast is {options.contrast}, but one view of each example is kept; two are compared.",
            fix="--views 2 or more, or 0 where views are made anew; and an augmentation under which they differ.",
        )
    if options.regulariser:
        check_regulariser(options.regulariser, asked)
    growth_of(asked, options.start_side)
    check_cutmix(options.cutmix, asked.cut)


def groups_of(tail: "Tail", options: Options) -> list[dict[str, Any]]:
    """Parameter groups with their peak rates: the heads first, then the stages downwards, each gentler; what the
    regulariser trains along learns like the highest stage.

    Weight decay is for weights of layers alone: not for vectors (biases, scales of norms), nor for tokens and
    positions that are parameters themselves.
    """
    contrast = [] if tail.contrast is None else tail.contrast.named_parameters()
    heads = [*tail.head.named_parameters(), *tail.side_heads.named_parameters(), *contrast]
    parts = [(heads, options.lr * options.head_lr_factor)]
    for depth, stage in enumerate(reversed(tail.stages)):
        parts.append((list(stage.named_parameters()), options.lr * options.decay**depth))
    if tail.regulariser is not None:
        parts.append((list(tail.regulariser.named_parameters()), options.lr))
    groups: list[dict[str, Any]] = []
    for named, lr in parts:
        for decayed in (True, False):
            trained = [(name, p) for name, p in named if p.requires_grad]
            chosen = [p for name, p in trained if (p.ndim > 1 and name.endswith("weight")) == decayed]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": options.weight_decay * decayed})
    return groups


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
