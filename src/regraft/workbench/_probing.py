"""Which backbones an advice has time to probe, in which order, and on how many examples.

Backbones with pretrained weights come first, and among these the faster ones: nothing else is known of them before a
probe, so that is their expected value for the time. All are compared on the same examples: where the time does not
suffice for all, on a sample.

Letters: k examples.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.activations.slots import stacked
from regraft.backbones.backbone import Backbone
from regraft.errors import BadRequest
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.values import Event, Plan, Progress
from regraft.words import counted, listed
from regraft.workbench._evidence import out_of_fold
from regraft.workbench._machine import choose_device, clock_of
from regraft.workbench.features import Probed, probed
from regraft.workbench.recipes import open_for, suited
from regraft.workbench.session import Session

SHARE = 0.5
"""Share of the time that probes may take; the rest is for the pilot. Our choice."""
PILOT_S = 20.0
"""If this is more than what the probes leave, there is hardly time for a pilot, and probes may take all of it."""
START_S = 6.0
"""Expected seconds before the first example of the first backbone is computed: loading torch, opening and exporting
the network. With less time, nothing is measured."""
MIN_PROBED = 50
"""Minimum number of examples to compare backbones on, if there are as many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A probed backbone."""

    backbone: Backbone
    seen: Probed
    """Features and probe, on the examples that all backbones were compared on."""
    positions: Int[np.ndarray, " k"]
    """These examples."""
    weights_s: float
    """Seconds for loading torch, and for opening the weights with the imports that this needs."""
    export_s: float
    """Seconds until the network has run its first batch; 0 if all was stored."""
    wall_s: float
    """Wall-clock seconds of the probe."""


def probe_in_time(
    recipe: Recipe, session: Session, specs: Sequence[str], until: float, notes: list[str]
) -> Generator[Event, None, dict[str, Known]]:  # fmt: skip
    """Probe backbones, the most promising first, for about half of the time until `until` (`time.monotonic`), or all of
    it if it is short; what was left out is said in `notes`.

    Raises:
        BadRequest: all examples belong to one group or class.
    """
    left = until - time.monotonic()
    ends = until - (1 - SHARE) * left if (1 - SHARE) * left >= PILOT_S else until
    if left < START_S:
        notes.append(f"No backbone was measured: the first one takes about {START_S:g} seconds.")
        return {}
    clock, opened = clock_of(choose_device(recipe.device)), dict[str, tuple[Backbone, float]]()
    worked = clock()
    import torch

    loading = clock() - worked
    for at, spec in enumerate(specs):
        yield Progress(phase="backbones", done=at, total=len(specs))
        before = clock()
        backbone = suited(recipe, session.dataset, (yield from open_for(recipe, spec)))
        opened[spec] = backbone, loading + clock() - before
    worth = {spec: (one.card.weights == "random", _run_once(session, one, torch)) for spec, (one, _) in opened.items()}
    found, some, once, late = dict[str, Known](), session.learnable, 0.0, list[str]()
    for at, spec in enumerate(sorted(opened, key=worth.__getitem__)):
        began = time.monotonic()
        if ends - began <= once:
            late.append(spec)
            continue
        allowed = max((ends - began) / (len(opened) - at), min(2 * once, ends - began))
        known, first = yield from _probed(recipe, session, opened[spec], some, allowed)
        once = max(once, first)
        if known is None:
            late.append(spec)
            continue
        found[spec], some = known, known.positions
    if late:
        notes.append(f"The time did not suffice to measure {listed(late, 6)}.")
    if found and len(some) < len(session.learnable):
        notes.append(f"The time sufficed to compare backbones on {len(some):,} of "
                     f"{counted(len(session.learnable), 'training and validation example')}.")  # fmt: skip
    return {spec: _reduced(session, one, some) for spec, one in found.items()}


def _run_once(session: Session, backbone: Backbone, torch: Any) -> float:
    """Time one example through the network, in seconds."""
    record = session.inputs(backbone.card, 1).load(int(session.learnable[0]), 0, 0)[0]
    state = {name: torch.from_numpy(one) for name, one in stacked([record]).items()}
    with torch.inference_mode():
        backbone.network.run(state)
        began = time.perf_counter()
        backbone.network.run(state)
    return time.perf_counter() - began


def _probed(
    recipe: Recipe, session: Session, opened: tuple[Backbone, float], some: Int[np.ndarray, " k"], allowed: float
) -> Generator[Event, None, tuple[Known | None, float]]:  # fmt: skip
    """Probe a backbone on `some` examples, or on as many as `allowed` seconds suffice for (None: on too few); return
    with it the seconds before its first batch was through. The plan of the store says what all of them take."""
    (backbone, weights_s), clock, task = opened, clock_of(choose_device(recipe.device)), session.task
    began, worked, first, export_s = time.monotonic(), clock(), 0.0, 0.0
    events = probed(recipe, backbone, session.scanned, task, session.targets, some)
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            seen: Probed = stop.value
            break
        if isinstance(event, Plan) and event.seconds and not first:
            first, export_s = time.monotonic() - began, clock() - worked
            share = (allowed - first) / max(event.seconds - first, 1e-9)
            if share < 1:
                events.close()
                if share * len(some) < min(MIN_PROBED, len(some)):
                    return None, first
                seed = derive_seed(recipe.seed, "probed")
                some = some[split(task.strata(session.targets[some]), session.splits.groups[some], share, seed)]
                events = probed(recipe, backbone, session.scanned, task, session.targets, some)
        yield event
    if seen.outputs is None:
        raise BadRequest("All examples belong to one group or class, so nothing can be compared.",
                         fix="add examples of other groups or classes.")  # fmt: skip
    return Known(backbone=backbone, seen=seen, positions=some, weights_s=weights_s, export_s=export_s,
                 wall_s=time.monotonic() - began), first  # fmt: skip


def _reduced(session: Session, known: Known, some: Int[np.ndarray, " k"]) -> Known:
    """Return the probe on the examples that later backbones were compared on."""
    if len(some) == len(known.positions):
        return known
    at, task = np.isin(known.positions, some), session.task
    features, groups = known.seen.features[at], known.seen.groups[at]
    outputs = out_of_fold(task, session.targets[some], groups, features)
    seen = replace(known.seen, features=features, groups=groups,
                   outputs=None if outputs is None else task.outputs(outputs))  # fmt: skip
    return replace(known, seen=seen, positions=some)
