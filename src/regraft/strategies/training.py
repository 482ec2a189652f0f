"""Options and helpers shared by strategies that train iteratively.

Such a strategy builds a tail with `new_tail`, modifies it as needed, gets a schedule from `planned`, and calls
`loop.train`.

Sources: Yosinski et al. 2014, arXiv:1411.1792 (early layers transfer, late ones specialise); Howard & Ruder 2018,
arXiv:1801.06146 (a learning rate per layer); Kumar et al. 2022, arXiv:2202.10054 (start from the solved probe head).
The defaults are our choice, measured in docs/results.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from regraft.contracts.strategy import Needs, Problem, Ranges
from regraft.errors import BadData
from regraft.identity import derive_seed
from regraft.tasks.linear import linear
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from regraft.strategies._mixing import Mixing
    from regraft.strategies._steps import Schedule, Unfreezing
    from regraft.strategies.tail import Tail


@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of every strategy that trains iteratively."""

    lr: float = 1e-4
    """Peak learning rate of the highest stage."""
    head_lr_factor: float = 10.0
    """Peak learning rate of the head and of side heads, as a multiple of `lr`."""
    decay: float = 0.8
    """Layer-wise decay: factor on the learning rate from each stage to the one below it, in (0, 1]."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, relative to the learning rate; applied to weights, not to biases and norms."""
    epochs: int = 20
    """Number of passes over the training examples, over all phases."""
    min_steps: int = 150
    """Minimum number of steps: on small data sets `epochs` is raised to reach it, with a notice."""
    batch: int = 32
    """Maximum batch size; an epoch is split into batches of nearly equal size."""
    warmup_share: float = 0.1
    """Share of all steps, in [0, 1], for linear warm-up of the learning rates; cosine decay to zero follows."""
    patience: int = 8
    """Early stopping: epochs (of the last phase) without a lower validation loss before training stops; 0: never. The
    best epoch's weights are kept. Without validation examples (fewer than fifty count as none) the number of steps is
    fixed."""
    smoothing: float = 0.0
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool = False
    """Whether classes are weighted equally in training and validation loss, regardless of their frequency."""
    dropout: float = 0.0
    """Dropout before the head, in [0, 1)."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9, whose `lr` must be hundreds of times higher (for pretraining 0.4, and a
    `weight_decay` of 0.0001, which is then part of the gradient)."""
    ema: float = 0.0
    """Decay of an exponential moving average (EMA) of the weights per step, in [0, 1), smaller during the first steps.
    The EMA, including batch-norm statistics, is what is validated and saved. 0: no EMA."""
    clip_norm: float = 1.0
    """Gradient clipping: maximum Euclidean norm of the gradient; 0: no limit."""
    init: Literal["zero", "probe"] = "zero"
    """Initial head: zero, or the solved linear probe of the pretrained backbone (LP-FT)."""
    bf16: bool = False
    """Whether to train in bfloat16 (mixed precision) on CUDA and on processors that support it (AVX512-BF16, AMX): less
    exact; faster for wide convolutions, slower for depthwise ones. No effect elsewhere."""

    watch_gradients: bool = False
    """Whether to log, for each trained stage, the root mean square of its gradient before clipping, averaged over the
    epoch."""

    RANGES: ClassVar[Ranges] = (
        ("a positive number", "lr head_lr_factor"),
        ("0 or more", "weight_decay min_steps patience clip_norm"),
        ("1 or more", "epochs batch"),
        ("in [0, 1)", "smoothing dropout ema"),
        ("in [0, 1]", "warmup_share"),
        ("in (0, 1]", "decay"),
    )


def needs(options: Training) -> Needs:
    """Return what `options` require: the solved probe, if training starts from it."""
    start = options.init == "probe"
    return Needs(top=start, start=start, balanced=options.balanced)


def new_tail(problem: Problem, options: Training, *, batch_norm: str, side_heads: bool = False) -> "Tail":
    """Build the tail to train, initialised from the run's seed.

    Raises:
        BadRequest: side heads are requested, but none lies above the cut.
        BadData: batch-norm statistics cannot be estimated from a single training example.
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
            guided=problem.task.guided,
            side_outputs=linear(problem.task).num_outputs if side_heads else 0,
        )
    if len(problem.train) < 2 and (batch_norm != "frozen" or len(tail.side_heads)):
        raise BadData(
            f"Batch-norm statistics cannot be estimated from {len(problem.train)} training example; at least 2 are "
            f"required.",
            fix="use --set options.batch_norm=frozen and leave out side heads, or add examples.",
        )
    return tail


def planned(
    tail: "Tail", problem: Problem, options: Training, *,
    unfreezing: "Unfreezing | None" = None, mixing: "Mixing | None" = None,
) -> "Generator[Event, None, Schedule]":  # fmt: skip
    """Plan the schedule: the number of epochs, raised for `min_steps`, and the options this machine supports."""
    import torch

    from regraft.strategies._steps import Schedule, has_bfloat16, num_batches

    steps = num_batches(len(problem.train), options.batch, tail.min_rows)
    floors = {
        f"options.min_steps requires {options.min_steps} steps (--set options.min_steps=0 turns this off)": math.ceil(
            options.min_steps / steps
        ),
        "every stage must be unfrozen": unfreezing.min_epochs if unfreezing else 1,
    }
    why, epochs = max(floors.items(), key=lambda floor: floor[1])
    if epochs > options.epochs:
        text = f"options.epochs is {options.epochs}, but {why}: {epochs} epochs are planned."
        yield Notice(text=text, topic="training")
    bf16 = options.bf16 and has_bfloat16(torch.device(problem.device))
    if options.bf16 and not bf16:
        yield Notice(text="This machine has no bfloat16 instructions; training runs in float32.", topic="bf16")
    return Schedule(epochs=max(options.epochs, epochs), bf16=bf16, unfreezing=unfreezing, mixing=mixing)


def first_values(tail: "Tail", problem: Problem, options: Training) -> Generator[Event, None, dict[str, Any]]:
    """Initialise the head and the batch-norm statistics; return facts for the report."""
    import torch

    facts: dict[str, Any] = {"batch_norm": tail.batch_norm, "trained_stages": list(tail.names)}
    if options.init == "probe":
        tail.load({name: torch.from_numpy(array) for name, array in problem.start.tensors.items()})
        facts["probe"] = dict(problem.start.facts)
    if tail.batch_norm == "recalibrate":
        from regraft.strategies._steps import recalibrate

        recalibrate(tail, problem)
        yield Notice(
            text="Batch-norm statistics above the cut were re-estimated on the training examples.", topic="norm"
        )
    for name, term in tail.each_term().items():
        if term.facts:
            facts[name] = dict(term.facts)
        for note in term.notes:
            yield Notice(text=note, topic=name)
    return facts


def groups_of(tail: "Tail", options: Training) -> list[dict[str, Any]]:
    """Return parameter groups with their peak learning rates: heads, stages from the top down with layer-wise decay,
    then the parameters of extra loss terms.

    Weight decay applies to weight matrices only: not to vectors (biases, norm scales), and not to token and position
    embeddings that are bare parameters.
    """
    terms = tail.each_term().values()
    weight_decay = 0.0 if any(term.replaces_decay for term in terms) else options.weight_decay
    heads = [*tail.head.named_parameters(), *tail.side_heads.named_parameters()]
    parts = [(heads, options.lr * options.head_lr_factor)]
    for depth, stage in enumerate(reversed(tail.stages)):
        parts.append((list(stage.named_parameters()), options.lr * options.decay**depth))
    parts += [(list(term.named_parameters()), options.lr) for term in terms]
    groups: list[dict[str, Any]] = []
    for named, lr in parts:
        held = {id(p) for group in groups for p in group["params"]}  # T5's table of positions lies in two stages
        for decayed in (True, False):
            trained = [(name, p) for name, p in named if p.requires_grad and id(p) not in held]
            chosen = [p for name, p in trained if (p.ndim > 1 and name.endswith("weight")) == decayed]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": weight_decay * decayed})
    return groups
