"""LoRA: the layers above the cut keep their weights, and each learns a low-rank update.

Updates are merged into the weights at the end, so the model is as large and as fast as the original. The head is
trained fully; biases, norms and their statistics do not change.

Sources: Hu et al. 2021, arXiv:2106.09685 (the method); Kumar et al. 2022, arXiv:2202.10054 (start from the solved
probe head). Updates of convolutions, and the defaults, are our choice.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from regraft.contracts.strategy import Fitted, Preset, Problem, Ranges, Strategy, check_classes, check_ranges
from regraft.errors import BadRequest, MissingExtra
from regraft.identity import derive_seed
from regraft.strategies.training import Training, needs, new_tail, planned
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from regraft.strategies._updates import Updates
    from regraft.strategies.tail import Tail


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """Options of `lora`."""

    rank: int = 8
    """Rank of each update, 1 or more; an update has rank × (inputs + outputs) parameters, where a convolution's inputs
    include its kernel size."""
    alpha: float = 16.0
    """Updates are scaled by alpha / rank."""
    update_dropout: float = 0.0
    """Dropout on the input of the updates, in [0, 1); the original layers are not affected."""
    layers: Literal["all", "linear", "convolutions"] = "all"
    """Which layers get an update; the projections of attention count as linear."""
    lr: float = 1e-3
    """Peak learning rate of the highest stage's updates."""
    head_lr_factor: float = 1.0
    decay: float = 1.0
    init: Literal["zero", "probe"] = "probe"

    RANGES: ClassVar[Ranges] = (("a positive number", "alpha"), ("1 or more", "rank"), ("in [0, 1)", "update_dropout"))


PRESETS = {
    "lora": Preset(
        title="low-rank updates of the layers above the cut, and the head, starting from the solved probe head",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events; return the model with the updates merged.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: no layer above the cut supports an update.
        MissingExtra: peft is not installed.
        TrainingFailed: a loss or a weight is not finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies.loop import train

    check(options)
    check_classes(options, problem.asked)
    tail = new_tail(problem, options, batch_norm="frozen")
    updates = yield from _put_in(tail, problem, options)
    schedule = yield from planned(tail, problem, options)
    fitted = yield from train(tail, problem, options, schedule, strategy="lora")
    return _merged(fitted, tail, updates)


def _put_in(tail: "Tail", problem: Problem, options: Options) -> "Generator[Event, None, Updates]":
    """Add updates to all layers that support them, with a notice about those that do not."""
    from regraft.strategies._steps import seeded
    from regraft.strategies._updates import Updates, layers_of, mergeable

    every = layers_of(tail, options.layers)
    layers = {name: layer for name, layer in every.items() if mergeable(layer)}
    if not layers:
        kinds, other = "", ""
        if options.layers != "all":
            kinds, other = f" of the kind {options.layers!r}", "--set options.layers=all, "
        raise BadRequest(
            f"Above the cut {problem.cut!r} there is no layer{kinds} that supports a low-rank update.",
            fix=f"choose a lower cut, {other}or --strategy probe to train the head only.",
        )
    with seeded(derive_seed(problem.seed, "updates")):
        updates = Updates(tail, layers, rank=options.rank, alpha=options.alpha, dropout=options.update_dropout)
    if len(layers) < len(every):
        yield Notice(
            text=f"{len(every) - len(layers)} of {len(every)} layers above the cut keep their weights: updates of "
            "convolutions with groups or dilation cannot be merged.",
            topic="training",
        )
    return updates


def _merged(fitted: Fitted, tail: "Tail", updates: "Updates") -> Fitted:
    """Return the model with updates merged; `fitted` predicts with the tail itself, so it remains valid."""
    from regraft.strategies._checkpoint import arrays_of

    num_trained = sum(parameter.numel() for parameter in tail.parameters() if parameter.requires_grad)
    updates.merge()
    tail.eval()
    tensors = arrays_of(tail)
    return replace(
        fitted,
        tensors=tensors,
        frozen=frozenset(name for name in tensors if not name.startswith("head/")) - updates.changed,
        num_trained=num_trained,
        facts={**fitted.facts, "updated_layers": updates.num_layers},
    )


def check(options: Options) -> None:
    """Check the options.

    Raises:
        BadRecipe: an option is out of range.
        MissingExtra: peft is not installed.
    """
    check_ranges(options)
    if find_spec("peft") is None:
        raise MissingExtra("peft", "lora", "The strategy lora")


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, fit=fit)
