"""Features: what a backbone makes of unlabelled examples at a cut, computed once and kept in the store.

Letters: n examples, d features.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.runner import Prefixes
from regraft.activations.states import States
from regraft.activations.store import Store
from regraft.backbones._channels import open_for_channels
from regraft.backbones.backbone import Backbone
from regraft.bundles._inputs import Input, picture_of
from regraft.files import cache_home
from regraft.modalities.image.decode import Undecodable
from regraft.modalities.image.decoder import decoder
from regraft.values import Event
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._files import Files

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
    inputs: Sequence[Input],
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
    files = Files.of(inputs)
    height, width = found.card.preparation.input_px
    prefixes = Prefixes(
        found,
        {"pixels": ((height, width, found.card.channels), "uint8")},
        view="pooled",
        memo=Memo(cache_home() / "store"),
        device=choose_device(device),
        backend=backend,
        threads=cores,
    )
    activations = Activations(Store(cache_home() / "store"), prefixes.memo, prefixes, _inputs(files, found, cores))
    try:
        states = yield from _states(activations, cut, len(files), stored=stored)
        blocks = [
            _flat(states.batch(at, np.zeros_like(at)), cut, pooled=pooled)
            for at in np.array_split(np.arange(len(files)), max(1, -(-len(files) // CHUNK)))
        ]
    finally:
        activations.close()
    array = np.concatenate(blocks)
    yield Extracted(array=array, names=tuple(f"{found.card.family}_{cut}_{i}" for i in range(array.shape[1])))


def _inputs(files: Files, backbone: Backbone, workers: int) -> Inputs:
    preparation, channels = backbone.card.preparation, backbone.card.channels

    def load(example: int, number: int, piece: int) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        try:
            return {"pixels": preparation.plain(picture_of(files.items[example], channels))}, {}
        except Undecodable as error:
            raise Undecodable(error.reason, files.name(example)) from error

    return Inputs(
        contents=files.contents,
        load=load,
        view_name=lambda number: "plain",
        fields={
            "preparation": preparation.digest_fields(),
            "channels": channels,
            "decoder": decoder(dicom=files.any_dicom),
        },
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


def _flat(state: Mapping[str, np.ndarray], cut: str, *, pooled: bool) -> Float[np.ndarray, "n d"]:
    """One row of numbers per example, out of a state."""
    if cut == "output":
        return state["pooled"].astype(np.float32)
    hidden = (np.moveaxis(state["pixels"], -1, 1) if cut == "input" else state["hidden"]).astype(np.float32)
    if pooled and hidden.ndim == 4:
        hidden = hidden.mean(axis=(2, 3), dtype=np.float32)
    elif pooled and hidden.ndim == 3:
        hidden = hidden.mean(axis=1, dtype=np.float32)
    return hidden.reshape(len(hidden), -1)
