"""Features: what a backbone makes of unlabelled examples at a cut, computed once and kept in the store.

Letters: n examples, d features.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.slots import averaged, numbered
from regraft.activations.states import States
from regraft.activations.store import Store
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_for_channels
from regraft.bundles.bundle import prefixes_of
from regraft.contracts.modality import MODALITIES, Modality
from regraft.contracts.task import Reads
from regraft.files import cache_home
from regraft.values import Event
from regraft.workbench._machine import choose_device, num_threads
from regraft.workbench.session import inputs_of

CHUNK = 64
"""Examples whose states are held in memory at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extracted(Event):
    """The last event of an extraction."""

    array: Float[np.ndarray, "n d"]
    """The features, in the order of the inputs."""
    names: tuple[str, ...]
    """A name for every column."""


def features(
    inputs: Sequence[Any],
    backbone: str | Backbone,
    *,
    cut: str = "output",
    pooled: bool = True,
    input_px: int = 0,
    channels: int = 0,
    seed: int = 0,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
    stored: bool = True,
) -> Iterator[Event]:
    """The features of `inputs` at `cut`; yields events, the last one an `Extracted`.

    At `output` they are what a head reads: the pooled top state. At an inner cut the state `hidden`, averaged over its
    places (rows and columns, or tokens) where `pooled`, else all of it, flattened. Unless `stored`, the store is left
    alone, and every example goes through the network.

    Raises:
        UnknownCut: the backbone has no such stage.
        Undecodable: an input cannot be read.
        RegraftError: whatever is wrong with the weights.
    """
    cores = num_threads(threads)
    found = backbone if isinstance(backbone, Backbone) else (
        yield from open_for_channels(backbone, channels=channels, input_px=input_px or None, seed=seed)
    )  # fmt: skip
    cut = found.cut(cut)
    prefixes = prefixes_of(found, Reads(), device=choose_device(device), backend=backend, threads=cores, cut=cut)
    modality = MODALITIES.get(found.card.modality)
    activations = Activations(
        Store(cache_home() / "store"), prefixes.memo, prefixes, _inputs(modality, inputs, found, cores)
    )
    try:
        states = yield from _states(activations, cut, len(inputs), stored=stored)
        blocks = [
            _of_examples(states, at, cut, pooled=pooled)
            for at in np.array_split(np.arange(len(inputs)), max(1, -(-len(inputs) // CHUNK)))
        ]
    finally:
        activations.close()
    yield from prefixes.notices
    array = np.concatenate(blocks)
    yield Extracted(array=array, names=tuple(f"{found.card.family}_{cut}_{i}" for i in range(array.shape[1])))


def _inputs(modality: Modality, given: Sequence[Any], backbone: Backbone, workers: int) -> Inputs:
    """How the inputs become records; each is known by its bytes, so that what is stored is found again."""
    contents = [modality.given(one) for one in given]
    seen = [modality.identity(one) for one in contents]
    optional = any(reads for _, reads in seen)
    return inputs_of(
        modality,
        contents,
        [digest for digest, _ in seen],
        backbone.card.preparation,
        reader=modality.reader(optional=optional),
        workers=workers,
    )


def _states(activations: Activations, cut: str, num_examples: int, *, stored: bool) -> Generator[Event, None, States]:
    """Stored where the store's limit and the disk hold them, else computed as they are asked for."""
    if not stored or cut == "input":
        return activations.fresh(cut)
    want, examples = Want(cut=cut, views=1, dtype="float32"), list(range(num_examples))
    plan = activations.plan(want, examples)
    if plan.bytes_needed > plan.bytes_free:
        return activations.fresh(cut)
    yield from activations.fill([want], examples)
    return activations.states(want, num_examples, examples)


def _of_examples(states: States, at: np.ndarray, cut: str, *, pooled: bool) -> Float[np.ndarray, "n d"]:
    """One row of numbers per example, that of its pieces averaged."""
    counts = states.pieces_of(at)
    rows = np.repeat(at, counts)
    return averaged(_flat(states.batch(rows, np.zeros_like(rows), numbered(counts)), cut, pooled=pooled), counts)


def _flat(state: Mapping[str, np.ndarray], cut: str, *, pooled: bool) -> Float[np.ndarray, "n d"]:
    """One row of numbers per example, out of a state."""
    if cut == "output":
        return state["pooled"].astype(np.float32)
    hidden = (next(iter(state.values())) if cut == "input" else state["hidden"]).astype(np.float32)
    places = (1, 2) if cut == "input" else (2, 3)  # records have their channels last, states of a grid first
    if pooled and hidden.ndim == 4:
        hidden = hidden.mean(axis=places, dtype=np.float32)
    elif pooled and hidden.ndim == 3:
        hidden = _mean_of_tokens(hidden, state.get("mask"))
    elif cut == "input" and hidden.ndim == 4:
        hidden = np.moveaxis(hidden, -1, 1)
    return hidden.reshape(len(hidden), -1)


def _mean_of_tokens(hidden: Float[np.ndarray, "n t d"], mask: np.ndarray | None) -> Float[np.ndarray, "n d"]:
    """The mean over tokens; over those that are not padding, where a mask says which."""
    if mask is None:
        return hidden.mean(axis=1, dtype=np.float32)
    kept = mask.astype(np.float32)[..., None]
    return (hidden * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
