"""Features of unlabelled examples at a cut, computed once and stored; and an out-of-fold linear probe on features, for
audits and advice.

Letters: n or k examples, d features, c outputs.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.runner import BATCH, Prefixes
from regraft.activations.slots import averaged, masked, numbered
from regraft.activations.states import States
from regraft.activations.store import Store
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_for_channels
from regraft.bundles.bundle import prefixes_of
from regraft.contracts.modality import MODALITIES, Modality
from regraft.contracts.task import Reads, Task
from regraft.data.scan import Scanned
from regraft.data.splits import Splits, clusters, joined
from regraft.errors import BadRequest
from regraft.files import cache_home
from regraft.recipe import Recipe
from regraft.strategies import probe as probing
from regraft.tasks.linear import LinearTask
from regraft.values import Event
from regraft.workbench._machine import choose_device, num_threads
from regraft.workbench._training import NOBODY, Setup, problem_of, store_states
from regraft.workbench.recipes import resolve
from regraft.workbench.session import Session, fitted_to, inputs_of

CHUNK = 64
"""Number of examples whose states are in memory at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extracted(Event):
    """The last event of `features`."""

    array: Float[np.ndarray, "n d"]
    """The features, in the order of the inputs."""
    names: tuple[str, ...]
    """Name of every column."""


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
    """Compute the features of `inputs` at `cut`; yields events, the last one an `Extracted`.

    At `output` these are the pooled features that a head reads. At an inner cut it is the state `hidden`, averaged over
    positions (rows and columns, or tokens) if `pooled`, else flattened. With `stored=False` the store is not used, and
    every example goes through the network.

    Raises:
        UnknownCut: the backbone has no such stage.
        Undecodable: an input cannot be read.
        RegraftError: the weights are not usable.
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
    """Describe how inputs are prepared; each is identified by its bytes, so that stored features are found again."""
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
    """Return stored states if the store's limit and the disk allow, else states computed on demand."""
    if not stored or cut == "input":
        return activations.fresh(cut)
    want, examples = Want(cut=cut, views=1, dtype="float32"), list(range(num_examples))
    plan = activations.plan(want, examples)
    if plan.bytes_needed > plan.bytes_free:
        return activations.fresh(cut)
    yield from activations.fill([want], examples)
    return activations.states(want, num_examples, examples)


def _of_examples(states: States, at: np.ndarray, cut: str, *, pooled: bool) -> Float[np.ndarray, "n d"]:
    """Return one feature vector per example, averaged over its pieces."""
    counts = states.pieces_of(at)
    rows = np.repeat(at, counts)
    return averaged(_flat(states.batch(rows, np.zeros_like(rows), numbered(counts)), cut, pooled=pooled), counts)


def _flat(state: Mapping[str, np.ndarray], cut: str, *, pooled: bool) -> Float[np.ndarray, "n d"]:
    """Return one feature vector per example from a state."""
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
    """Average over tokens, without padding if there is a mask."""
    if mask is None:
        return hidden.mean(axis=1, dtype=np.float32)
    kept = mask.astype(np.float32)[..., None]
    return (hidden * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """A backbone's features of some examples, and out-of-fold outputs of the probe."""

    features: Float[np.ndarray, "k d"]
    """Pooled features."""
    outputs: Float[np.ndarray, "k c"] | None
    """Out-of-fold probabilities or values of each example, by a head trained without it and its group; nan if there is
    none. None if all examples have the same group or class."""
    groups: Int[np.ndarray, " k"]
    """Sets of examples that stay in one fold: the user's groups joined with duplicates."""
    inputs: Inputs
    """How examples are prepared."""
    prefixes: Prefixes
    """Runs the backbone."""
    c: float
    """Inverse regularisation strength that was chosen; 0 without a probe."""


def probed(
    recipe: Recipe, backbone: Backbone, scanned: Scanned, task: Task, targets: Shaped[np.ndarray, "n ..."],
    positions: Int[np.ndarray, " k"],
) -> Generator[Event, None, Probed]:  # fmt: skip
    """Return the features of the examples at `positions`, stored or computed, and the probe on them.

    Raises:
        BadData: the backbone cannot take the examples.
        BadRequest: the task does not read a single vector.
    """
    if not isinstance(task, LinearTask):
        raise BadRequest(
            f"A {task.kind} task does not use a single feature vector.", fix="compare strategies with `regraft sweep`."
        )
    groups = joined(clusters(scanned), scanned.dataset.groups)
    session = Session(
        recipe=replace(recipe, strategy="probe", cut="", views=1, options={}), dataset=scanned.dataset, scanned=scanned,
        splits=Splits(train=positions, val=NOBODY, test=NOBODY, groups=groups, drawn_by_us=True, notes=()),
        task=task.prepared(targets[positions]), targets=targets,
    )  # fmt: skip
    yield from session.check(backbone.card)
    session, fitted = fitted_to(session, backbone, positions)
    threads = num_threads(recipe.threads)
    setup = Setup(
        session=session, resolved=resolve(session.recipe, fitted.card), backbone=fitted, unfitted=backbone,
        device=choose_device(recipe.device), threads=threads,
    )  # fmt: skip
    outputs, c = None, 0.0
    with closing((yield from store_states(setup))) as stored:
        problem = yield from problem_of(setup, stored, None)
        features = np.asarray(probing.features_of(problem, positions)[:])
        several = len(np.unique(groups[positions])) > 1
        if several and not (task.exclusive and len(np.unique(targets[positions])) < 2):
            solved = yield from probing.fit(problem, probing.Options())
            c = float(solved.facts["c"])
            if solved.out_of_fold is not None:
                outputs = session.task.outputs(solved.out_of_fold)
    return Probed(
        features=features,
        outputs=outputs,
        groups=groups[positions],
        inputs=session.inputs(fitted.card, threads),
        prefixes=stored.prefixes,
        c=c,
    )


def inside(seen: Probed, examples: Int[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "n d"]]:
    """Return the features of these examples (positions in the data set) at every cut inside the backbone, averaged over
    positions. The network runs once per example for all cuts; nothing is stored."""
    cuts = seen.prefixes.backbone.card.cuts[1:-1]
    if not cuts:
        return {}
    found: dict[str, list[np.ndarray]] = {cut: [] for cut in cuts}
    for first in range(0, len(examples), BATCH):
        some = examples[first : first + BATCH].tolist()
        counts = np.array([seen.inputs.pieces_of(example) for example in some])
        records = [
            seen.inputs.load(example, 0, piece)[0]
            for example, count in zip(some, counts.tolist(), strict=True)
            for piece in range(count)
        ]
        states, lengths = seen.prefixes.states(cuts, records)
        for cut, blocks in found.items():
            blocks.append(averaged(_flat(masked(states[cut], lengths), cut, pooled=True), counts))
    return {cut: np.concatenate(blocks) for cut, blocks in found.items()}
