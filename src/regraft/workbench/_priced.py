"""Cost estimates of recipes on this machine: counted from layers, timed on a few batches, and corrected by measured
runs.

Shapes: k training and validation examples.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.activations.slots import stacked
from regraft.advisor.cost import Cost, Plan, Rates, cost
from regraft.backbones.backbone import Backbone
from regraft.errors import RegraftError
from regraft.recipe import Recipe
from regraft.values import Event, Progress
from regraft.words import listed
from regraft.workbench._finish import MAX_CHECKED
from regraft.workbench._machine import choose_device, clock_of
from regraft.workbench._probing import Known
from regraft.workbench.features import Probed
from regraft.workbench.recipes import resolve
from regraft.workbench.session import Session
from regraft.workbench.sweep import SweepDone, candidates_of

TIMED = 24
"""Number of examples to time. Our choice: less than a second."""


NOT_REST = ("weights", "data", "activations", "training")
"""Phases of a run whose costs are estimated separately."""
TRAINED, WARM = 32, 4
"""Batch size of the timed training step, as large as in `partial` and `full` (smaller steps cost more per example), and
of the step before it, which makes room."""
PLANNING_S = 4.0
"""Expected seconds for counting and timing a backbone. Our choice."""
CELL_S = 3.0
"""Expected CPU seconds of a run in the pilot besides storing, training and checking. Our choice."""
EPOCHS, MIN_STEPS = 8, 60
"""Maximum epochs of fine-tuning in the pilot, and its minimum number of steps, both 0.4 of the defaults. Our choice."""
Priced = tuple[Plan, Callable[[Plan], Cost]]
"""A plan, and a function from plans of its backbone to their costs."""


def plans_of(
    recipe: Recipe, session: Session, backbones: Mapping[str, Known], strategies: Sequence[str], until: float,
    notes: list[str],
) -> Generator[Event, None, dict[tuple[str, str], Priced]]:  # fmt: skip
    """Plan each backbone with each strategy and the recipe's options, and estimate the costs from layer counts and
    timed batches. What there is no time for until `until` is left out, with a note."""
    from regraft.backbones.costs import costs_of as counted

    found, late = dict[tuple[str, str], Priced](), list[str]()
    clock = clock_of(choose_device(recipe.device))
    train, val = session.validated
    for spec, known in backbones.items():
        if time.monotonic() + PLANNING_S > until:
            late.append(spec)
            continue
        backbone, seen = known.backbone, known.seen
        try:
            network = counted(backbone.family, backbone.card.buildable)
        except RegraftError as error:
            notes.append(f"The cost of {spec} could not be counted: {error}")
            continue
        loading, running = _timed(seen, known.positions, clock)
        steps = dict[str, float]()
        asked = candidates_of(recipe, [(spec, one) for one in strategies])
        for strategy in strategies:
            try:
                resolved = resolve(asked[f"{spec} {strategy}"], backbone.card)
            except RegraftError as error:
                notes.append(f"{spec} {strategy} was left out: {error.message}")
                continue
            options = resolved.options
            plan = Plan(
                cut=resolved.cut, examples=len(train), others=len(val) + len(session.splits.test), views=resolved.views,
                validated=len(val), trainings=1.0 if session.tests else float(recipe.folds),
                epochs=0 if resolved.strategy.solved else getattr(options, "epochs", 0),
                batch=getattr(options, "batch", 1), min_steps=getattr(options, "min_steps", 0),
                checked=MAX_CHECKED, dtype=resolved.dtype,
            )  # fmt: skip
            if plan.epochs and plan.cut not in steps:
                yield Progress(phase="measuring", done=len(found), total=len(backbones) * len(strategies))
                steps[plan.cut] = _step(backbone, seen, plan.cut, known.positions, clock)
            rates = Rates(loading=loading, running=running, training=steps.get(plan.cut, 0.0))
            found[spec, strategy] = plan, partial(cost, network, backbone.card.stages, rates=rates)
    if late:
        notes.append(f"The time did not suffice to estimate what fits of {listed(late, 6)} cost.")
    return found


def _timed(seen: Probed, positions: Int[np.ndarray, " k"], clock: Callable[[], float]) -> tuple[float, float]:
    """Time loading an augmented view of an example, and running it through the whole network, in seconds."""
    some = positions[np.linspace(0, len(positions) - 1, min(TIMED, len(positions))).astype(np.int64)].tolist()
    began = clock()
    records = [seen.inputs.load(at, 1, 0)[0] for at in some]
    loaded = clock()
    seen.prefixes.states(("output",), records)  # the first run also prepares
    warm = clock()
    seen.prefixes.states(("output",), records)
    return (loaded - began) / len(some), (clock() - warm) / len(some)


def _step(
    backbone: Backbone, seen: Probed, cut: str, positions: Int[np.ndarray, " k"], clock: Callable[[], float]
) -> float:
    """Time a training step above the cut (forward, backward, AdamW), in seconds per example."""
    import torch
    from torch.nn import functional

    from regraft.nn.stages import PooledHead
    from regraft.strategies.tail import Tail

    records = stacked([seen.inputs.load(at, 0, 0)[0] for at in positions[:TRAINED].tolist()])
    network = backbone.fresh_network()
    with torch.random.fork_rng(devices=[]):
        with torch.no_grad():
            state = network.run({name: torch.from_numpy(one) for name, one in records.items()}, upto=cut)
        tail = Tail(network, cut, PooledHead(backbone.card.width, 2), "pooled", batch_norm="frozen").train()
        tail.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(tail.parameters(), lr=0.0)
        rows = len(next(iter(records.values())))
        for number in (WARM, rows):
            began = clock()
            optimiser.zero_grad()
            some = {name: one[:number] if len(one) == rows else one for name, one in state.items()}
            outputs = tail(some)
            loss = functional.cross_entropy(outputs, torch.zeros(len(outputs), dtype=torch.int64))
            torch.autograd.backward(loss)
            optimiser.step()
    return (clock() - began) / rows


def costs_of(
    plans: Mapping[tuple[str, str], Priced], piloted: SweepDone | None, found: Mapping[str, Known], opening_s: float
) -> dict[tuple[str, str], tuple[str, Cost]]:
    """Return cut and cost of each recipe, estimates corrected by what the pilot measured. `opening_s` is the time
    before a fit opens weights: imports and data."""
    ran = {}
    for one in piloted.report.candidates if piloted else ():
        if spec := next((known for known in plans if is_swept(known, one)), None):
            assert piloted is not None
            ran[spec] = next(cell.report for cell in piloted.cells if cell.candidate == one.name)
    factors = dict[tuple[str, str], float]()
    for spec, report in ran.items():
        plan, priced = plans[spec]
        splits, curve = report.data.splits, report.strategy.curve if report.strategy else ()
        small = replace(plan, examples=splits["train"].examples, epochs=len(curve), min_steps=0, trainings=1.0,
                        validated=splits["validation"].examples if "validation" in splits else 0)  # fmt: skip
        if curve:
            factors[spec] = report.spent.get("training", 0.0) / priced(small).training_s
    others = float(np.median(list(factors.values()))) if factors else 1.0
    made = {}
    for spec, (plan, priced) in plans.items():
        counted, known = priced(plan), found[spec[0]]
        rest = counted.rest_s
        if spec in ran:
            spent = ran[spec].spent
            rest = max(rest, sum(seconds for name, seconds in spent.items() if name not in NOT_REST))
            if not plan.epochs:  # solved at once
                rest += spent.get("training", 0.0)
        # Above an inner cut, two prefixes are exported: up to the cut, and through to the output.
        rest += opening_s + known.weights_s + known.export_s * (1 if plan.cut in ("input", "output") else 2)
        training = counted.training_s * factors.get(spec, others)
        made[spec] = plan.cut, replace(counted, rest_s=rest, training_s=training)
    return made


def seconds_of(planned: Priced, share: float, held_out: float) -> float:
    """Return the CPU seconds of a run of the pilot, with a share of the training examples, a share held out, and the
    pilot's options (`piloting`). What probes need is stored already."""
    plan, priced = planned
    examples, epochs = round(plan.examples * share), min(plan.epochs, EPOCHS)
    found = priced(replace(plan, examples=examples, others=round(plan.examples * held_out), validated=0, trainings=1.0,
                           epochs=epochs, min_steps=min(plan.min_steps, MIN_STEPS)))  # fmt: skip
    return found.seconds + CELL_S - (found.filling_s if plan.cut in ("input", "output") else 0.0)


def piloting(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's options for the pilot."""
    return {**options, "epochs": min(EPOCHS, options.get("epochs", EPOCHS)),
            "min_steps": min(MIN_STEPS, options.get("min_steps", MIN_STEPS))}  # fmt: skip


def is_swept(known: tuple[str, str], swept: Any) -> bool:
    """Return whether a sweep's candidate is this backbone with this strategy, at any cut."""
    strategy, _, cut = known[1].partition("@")
    return (known[0], strategy) == (swept.backbone, swept.strategy) and cut in ("", swept.cut)
