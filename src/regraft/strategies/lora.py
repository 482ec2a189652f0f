"""Low-rank updates: the layers above the cut keep their weights, and each learns a small correction beside them.

The updates are merged before the model is handed over, so that it is as large and as fast as the one it came from.
The head is trained in full; biases, norms and their statistics stay as they are.

Sources: Hu et al. 2021, arXiv:2106.09685 (the method); Kumar et al. 2022, arXiv:2202.10054 (start from the solved
probe head). That convolutions have updates too, and the defaults, are our choice.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from regraft.contracts.strategy import Asked, Fitted, Needs, Preset, Problem, Strategy
from regraft.errors import BadRequest, MissingExtra
from regraft.identity import derive_seed
from regraft.strategies import finetune
from regraft.strategies._options import count, positive, refuse_others, share
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from regraft.strategies._tail import Tail
    from regraft.strategies._updates import Updates


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe may set for `lora`."""

    rank: int = 8
    """Rank of each update, 1 or more; it has rank × (inputs + outputs) parameters, a convolution's inputs counted
    with its window."""
    alpha: float = 16.0
    """An update is scaled by alpha / rank."""
    update_dropout: float = 0.0
    """Dropout before the updates, in [0, 1); the layers themselves see everything."""
    layers: Literal["all", "linear", "convolutions"] = "all"
    """Which layers have an update; an attention's products are linear."""
    lr: float = 1e-3
    """Peak learning rate of the highest stage's updates (AdamW)."""
    head_lr_factor: float = 1.0
    """Peak rate of the head, as a multiple of `lr`."""
    decay: float = 1.0
    """Factor on the rate from each stage to the one below it, in (0, 1]."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay of updates and head, a share per unit of rate."""
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
    dropout: float = 0.0
    """Dropout before the head, in [0, 1)."""
    clip_norm: float = 1.0
    """Largest Euclidean norm of the gradient, which is scaled down to it; 0: no limit."""
    init: Literal["zero", "probe"] = "probe"
    """Where the head starts: at zero, or at the solved linear probe of the untouched backbone."""
    half: bool = False
    """Whether training computes in bfloat16 on CUDA and on processors made for it (AVX512-BF16, AMX): less exact; wide
    convolutions gain time, depthwise ones lose it. Elsewhere it changes nothing."""


PRESETS = {
    "lora": Preset(
        title="low-rank updates of the layers above the cut, and the head, from the solved probe head on",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Iterator[Event]:
    """Train on `problem`, yielding events as it goes and one `Fitted` at the end, the updates merged.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: no layer above the cut can have an update.
        MissingExtra: peft is not installed.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    check(options)
    yield from finetune.tune(
        problem,
        finetune.shared(options),
        settings={"strategy": "lora", **asdict(options)},
        adapt=lambda tail: _adapted(tail, problem, options),
    )


def _adapted(tail: "Tail", problem: Problem, options: Options) -> Generator[Event, None, Callable[[Fitted], Fitted]]:
    """Put the updates in; returns what makes a merged model of the trained one."""
    from regraft.strategies._seeded import seeded
    from regraft.strategies._updates import Updates, layers_of, mergeable

    every = layers_of(tail, options.layers)
    layers = {name: layer for name, layer in every.items() if mergeable(layer)}
    if not layers:
        kinds, other = "", ""
        if options.layers != "all":
            kinds, other = f" of the kind {options.layers!r}", "--set options.layers=all, "
        raise BadRequest(
            f"Above the cut {problem.cut!r} there is no layer{kinds} that can have a low-rank update.",
            fix=f"choose a lower cut, {other}or --strategy probe for the head alone.",
        )
    with seeded(derive_seed(problem.seed, "updates")):
        updates = Updates(tail, layers, rank=options.rank, alpha=options.alpha, dropout=options.update_dropout)
    if len(layers) < len(every):
        yield Notice(
            text=f"{len(every) - len(layers)} of {len(every)} layers above the cut keep their weights: convolutions "
            "with groups or holes have no update that could be merged.",
            topic="training",
        )
    return lambda fitted: _merged(fitted, tail, updates, len(layers))


def _merged(fitted: Fitted, tail: "Tail", updates: "Updates", num_layers: int) -> Fitted:
    """The same model without updates beside its layers; `fitted` asks the tail itself, so it goes on answering."""
    num_trained = sum(parameter.numel() for parameter in tail.parameters() if parameter.requires_grad)
    updates.merge()
    tail.eval()
    tensors = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tail.tensors().items()}
    return replace(
        fitted,
        tensors=tensors,
        frozen=frozenset(name for name in tensors if not name.startswith("head/")) - updates.changed,
        num_trained=num_trained,
        facts={**fitted.facts, "updated_layers": num_layers},
    )


def check(options: Options) -> None:
    """
    Raises:
        BadRecipe: a value lies outside its range; the message says which.
        MissingExtra: peft is not installed.
    """
    held = {
        "rank": count(options.rank),
        "alpha": positive(options.alpha),
        "update_dropout": share(options.update_dropout),
    }
    refuse_others(options, held)
    finetune.check(finetune.shared(options), Options())
    if find_spec("peft") is None:
        raise MissingExtra("peft", "lora", "The strategy lora")


def needs(options: Options) -> Needs:
    """Whatever `finetune` needs with the options that they share."""
    return finetune.needs(finetune.shared(options))


def check_asked(options: Options, asked: Asked) -> None:
    """Raises: BadRecipe: an option makes no sense for this task; the message says which."""
    finetune.check_asked(finetune.shared(options), asked)


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
