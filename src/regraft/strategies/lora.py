"""Low-rank updates: the layers above the cut keep their weights, and each learns a small correction beside them.

The updates are merged before the model is handed over, so that it is as large and as fast as the one it came from.
The head is trained in full; biases, norms and their statistics stay as they are.

Sources: Hu et al. 2021, arXiv:2106.09685 (the method); Kumar et al. 2022, arXiv:2202.10054 (start from the solved
probe head). That convolutions have updates too, and the defaults, are our choice.
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
    """Peak learning rate of the highest stage's updates."""
    head_lr_factor: float = 1.0
    decay: float = 1.0
    init: Literal["zero", "probe"] = "probe"

    RANGES: ClassVar[Ranges] = (("a positive number", "alpha"), ("1 or more", "rank"), ("in [0, 1)", "update_dropout"))


PRESETS = {
    "lora": Preset(
        title="low-rank updates of the layers above the cut, and the head, from the solved probe head on",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Train on `problem`, yielding events as it goes; returns the model, the updates merged.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: no layer above the cut can have an update.
        MissingExtra: peft is not installed.
        TrainingFailed: a loss or a weight is no longer finite.
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
    """Put the updates into the layers that can have one; says so where some cannot."""
    from regraft.strategies._steps import seeded
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
            "with groups or dilation have no update that could be merged.",
            topic="training",
        )
    return updates


def _merged(fitted: Fitted, tail: "Tail", updates: "Updates") -> Fitted:
    """The same model without updates beside its layers; `fitted` asks the tail itself, so it goes on predicting."""
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
    """
    Raises:
        BadRecipe: a value lies outside its range; the message says which.
        MissingExtra: peft is not installed.
    """
    check_ranges(options)
    if find_spec("peft") is None:
        raise MissingExtra("peft", "lora", "The strategy lora")


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, fit=fit)
