"""What strategies that train share: their options, and the way from these to the one loop.

A strategy takes a `new_tail`, changes of it what it wants, has a schedule `planned`, adds its hooks, and is `trained`.

Sources: Yosinski et al. 2014, arXiv:1411.1792 (early layers transfer, late ones specialise); Howard & Ruder 2018,
arXiv:1801.06146 (a learning rate per layer); Kumar et al. 2022, arXiv:2202.10054 (start from the solved probe head).
The defaults are our choice, measured in docs/results.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from regraft.contracts.linear import linear
from regraft.contracts.strategy import Asked, Needs, Problem
from regraft.errors import BadData, BadRecipe
from regraft.identity import derive_seed
from regraft.strategies._options import Ranges, check_ranges
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from regraft.strategies._mixing import Mixing
    from regraft.strategies._steps import Phases, Schedule
    from regraft.strategies.tail import Tail, Term


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a recipe may set for every strategy that trains."""

    lr: float = 1e-4
    """Peak learning rate of the highest stage."""
    head_lr_factor: float = 10.0
    """Peak learning rate of the head and of side heads, as a multiple of `lr`."""
    decay: float = 0.8
    """Factor on the learning rate from each stage to the one below it, in (0, 1]."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, a share per unit of the learning rate; on weights of layers, not on biases and
    norms."""
    epochs: int = 20
    """Passes over the training examples, all phases together."""
    min_steps: int = 150
    """Small data get more epochs than `epochs`, until there are this many steps in all; the run says so."""
    batch: int = 32
    """Examples per step, at most: an epoch is cut into batches of like size."""
    warmup_share: float = 0.1
    """Share of all steps, in [0, 1], over which the learning rates rise evenly to their peaks; a cosine to zero
    follows."""
    patience: int = 8
    """Epochs (of the last phase) without a lower validation loss before training stops; 0: never. The best epoch's
    weights are kept. Without validation examples (fewer than fifty count as none) the number of steps is fixed."""
    smoothing: float = 0.0
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool = False
    """Whether every class weighs the same in training and validation loss, however frequent it is."""
    dropout: float = 0.0
    """Dropout before the head, in [0, 1)."""
    clip_norm: float = 1.0
    """Largest Euclidean norm of the gradient, which is scaled down to it; 0: no limit."""
    init: Literal["zero", "probe"] = "zero"
    """Where the head starts: at zero, or at the solved linear probe of the untouched backbone (LP-FT)."""
    bf16: bool = False
    """Whether training computes in bfloat16 (mixed precision) on CUDA and on processors made for it (AVX512-BF16, AMX):
    less exact; wide convolutions gain time, depthwise ones lose it. Elsewhere it changes nothing."""

    RANGES: ClassVar[Ranges] = (
        ("a positive number", "lr head_lr_factor"),
        ("0 or more", "weight_decay min_steps patience clip_norm"),
        ("1 or more", "epochs batch"),
        ("in [0, 1)", "smoothing dropout"),
        ("in [0, 1]", "warmup_share"),
        ("in (0, 1]", "decay"),
    )


@dataclass(frozen=True, kw_only=True)
class FullTraining(Training):
    """Beside it, what a recipe may set where whole networks may be trained."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """What turns gradients into steps: AdamW, or SGD with Nesterov's momentum of 0.9, whose `lr` is hundreds of times
    as high (for pretraining 0.4, and a `weight_decay` of 0.0001, which then is in the gradient)."""
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

    RANGES: ClassVar[Ranges] = (("0 or more", "mixup cutmix"),)

    def policy(self, num_examples: int) -> str:
        """What happens to batch norm's statistics on so many training examples."""
        if self.batch_norm != "auto":
            return self.batch_norm
        return "train" if num_examples >= 2000 and self.batch >= 16 else "frozen"

    def check(self) -> None:
        """Raises: BadRecipe: a value lies outside its range, or two contradict each other; the message says which."""
        check_ranges(self)
        if self.init == "probe" and self.batch_norm == "recalibrate":
            raise BadRecipe(
                "options.init is probe and options.batch_norm recalibrate, but the probe is solved for the old "
                "statistics.",
                fix="--set options.init=zero, or leave batch_norm out.",
            )

    def check_asked(self, asked: Asked) -> None:
        """
        Raises:
            BadRecipe: an option makes no sense for this task.
            BadRequest: side heads or cutmix cannot be had with this network and cut.
        """
        from regraft.strategies._mixing import check_cutmix
        from regraft.strategies.tail import side_heads_above

        asked.task.check(balanced=self.balanced, smoothing=self.smoothing)
        if self.side_heads:
            side_heads_above(asked.backbone.network, asked.cut)
        check_cutmix(self.cutmix, asked.cut)

    def mixing(self, tail: "Tail", problem: Problem) -> "Mixing | None":
        """How batches are mixed.

        Raises:
            BadRequest: states cannot be mixed.
        """
        from regraft.strategies._mixing import mixing_of

        return mixing_of(tail, problem, mixup=self.mixup, cutmix=self.cutmix)


def needs(options: Training) -> Needs:
    """The solved probe where training starts from it."""
    start = options.init == "probe"
    return Needs(top=start, start=start, balanced=options.balanced)


def new_tail(
    problem: Problem,
    options: Training,
    *,
    batch_norm: str,
    side_heads: bool = False,
    terms: "Callable[[], Mapping[str, Term]] | None" = None,
    head_apart: bool = False,
) -> "Tail":
    """What will be trained, drawn by the run's seed; `terms` are drawn with it, before the side heads.

    Raises:
        BadRequest: side heads are asked for where none lies above the cut.
        BadData: there is one training example, and batch norm is to measure its statistics.
    """
    from regraft.strategies._steps import seeded
    from regraft.strategies.tail import Tail

    with seeded(derive_seed(problem.seed, "tail")):
        reads, card = problem.task.reads, problem.backbone.card
        network = problem.backbone.fresh_network()  # leaves the random state alone
        for frozen in network.below(problem.cut).values():  # which generating runs too
            frozen.eval().requires_grad_(False)
        head = problem.task.head(card.widths(reads.readout, reads.strides), options.dropout, network.source_head)
        tail = Tail(
            network,
            problem.cut,
            head,
            reads.readout,
            taps=card.taps_at(reads.strides),
            batch_norm=batch_norm,
            side_outputs=linear(problem.task).num_outputs if side_heads else 0,
            terms=terms() if terms else None,
            head_apart=head_apart,
        )
    if len(problem.train) < 2 and (batch_norm != "frozen" or len(tail.side_heads) or len(tail.terms)):
        raise BadData(
            f"Batch norm cannot measure its statistics on {len(problem.train)} training example; it needs 2 or more.",
            fix="--set options.batch_norm=frozen and leave side heads, projector and contrast out, or add examples.",
        )
    return tail


def planned(
    tail: "Tail",
    problem: Problem,
    options: Training,
    *,
    step_examples: int | None = None,
    phases: "Phases | None" = None,
) -> "Generator[Event, None, Schedule]":
    """What the loop is told of `options`; a step holds `step_examples` different ones, if not as many as `batch`."""
    import torch

    from regraft.strategies._batches import num_batches
    from regraft.strategies._steps import Schedule, has_bfloat16

    steps = num_batches(len(problem.train), step_examples or options.batch, tail.min_rows)
    epochs = math.ceil(options.min_steps / steps)
    if epochs > options.epochs:
        yield Notice(
            text=f"options.epochs is {options.epochs}, but options.min_steps asks for {options.min_steps} steps: "
            f"{epochs} epochs are planned.",
            topic="training",
        )
    bf16 = options.bf16 and has_bfloat16(torch.device(problem.device))
    if options.bf16 and not bf16:
        yield Notice(text="This machine has no instructions for bfloat16: training computes in float32.", topic="bf16")
    return Schedule(
        epochs=max(options.epochs, epochs, phases.min_epochs if phases else 1),
        batch=options.batch,
        warmup_share=options.warmup_share,
        patience=options.patience,
        clip_norm=options.clip_norm,
        smoothing=options.smoothing,
        balanced=options.balanced,
        judge_start=options.init == "probe",
        bf16=bf16,
        phases=phases,
    )


def trained(
    tail: "Tail", problem: Problem, options: Training, schedule: "Schedule", *, strategy: str
) -> Iterator[Event]:
    """The loop with these options; `strategy` and they name the run in its checkpoint."""
    from regraft.strategies.loop import train

    settings = {"strategy": strategy, **asdict(options)}
    yield from train(
        tail,
        problem,
        groups_of(tail, options),
        schedule,
        settings=settings,
        prepare=lambda: _first_values(tail, problem, options),
    )


def _first_values(tail: "Tail", problem: Problem, options: Training) -> Generator[Event, None, dict[str, Any]]:
    """First values of the head and of batch norm's statistics; returns what there is to say of them."""
    import torch

    facts: dict[str, Any] = {"batch_norm": tail.batch_norm, "trained_stages": list(tail.names)}
    if options.init == "probe":
        tail.load({name: torch.from_numpy(array) for name, array in problem.start.tensors.items()})
        facts["probe"] = dict(problem.start.facts)
    if tail.batch_norm == "recalibrate":
        from regraft.strategies._recalibrate import recalibrate

        recalibrate(tail, problem)
        yield Notice(text="Batch-norm statistics above the cut were measured on the training examples.", topic="norm")
    for name, term in tail.each_term().items():
        if term.facts:
            facts[name] = dict(term.facts)
        for note in term.notes:
            yield Notice(text=note, topic=name)
    return facts


def groups_of(tail: "Tail", options: Training) -> list[dict[str, Any]]:
    """Parameter groups with their peak learning rates: the heads first, then the stages downwards, each gentler; then
    what terms of the loss train along.

    Weight decay is for weights of layers alone: not for vectors (biases, scales of norms), nor for tokens and
    positions that are parameters themselves.
    """
    terms = tail.each_term().values()
    weight_decay = 0.0 if any(term.replaces_decay for term in terms) else options.weight_decay
    heads = [tail.head, tail.side_heads, *(term for term in terms if term.like_head)]
    parts = [([named for module in heads for named in module.named_parameters()], options.lr * options.head_lr_factor)]
    for depth, stage in enumerate(reversed(tail.stages)):
        parts.append((list(stage.named_parameters()), options.lr * options.decay**depth))
    parts += [(list(term.named_parameters()), options.lr) for term in terms if not term.like_head]
    groups: list[dict[str, Any]] = []
    for named, lr in parts:
        for decayed in (True, False):
            trained = [(name, p) for name, p in named if p.requires_grad]
            chosen = [p for name, p in trained if (p.ndim > 1 and name.endswith("weight")) == decayed]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": weight_decay * decayed})
    return groups
