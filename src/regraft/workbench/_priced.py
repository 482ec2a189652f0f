"""Cost estimates of recipes on this machine: counted from layers, timed on a few batches, and corrected by measured
runs.

Shapes: k training and validation examples.
"""

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
from regraft.nn.stages import PooledHead
from regraft.recipe import Recipe
from regraft.strategies.tail import Tail
from regraft.values import Event, Progress
from regraft.workbench._machine import choose_device, clock_of
from regraft.workbench.features import Probed
from regraft.workbench.recipes import resolve
from regraft.workbench.session import Session
from regraft.workbench.sweep import SweepDone

TIMED = 24
"""Number of examples to time. Our choice: less than a second."""


NOT_REST = ("weights", "data", "activations", "training")
"""Phases of a run whose costs are estimated separately."""
TRAINED = 32
"""Batch size of timed training steps, as large as in `partial` and `full`: smaller steps cost more per example."""
STEPS = 3
"""Number of timed training steps."""
Priced = tuple[Plan, Callable[[Plan], Cost]]
"""A plan, and a function from plans of its backbone to their costs."""


def plans_of(
    recipe: Recipe, session: Session, positions: Int[np.ndarray, " k"],
    backbones: Mapping[str, tuple[Backbone, Probed]], strategies: Sequence[str],
    notes: list[str],
) -> Generator[Event, None, dict[tuple[str, str], Priced]]:  # fmt: skip
    """Plan each backbone with each strategy, and estimate the costs from layer counts and timed batches."""
    from regraft.backbones.costs import costs_of as counted

    found = dict[tuple[str, str], Priced]()
    device = choose_device(recipe.device)
    clock = clock_of(device)
    train, val = session.validated
    for spec, (backbone, seen) in backbones.items():
        try:
            network = counted(backbone.family, backbone.card.buildable)
        except RegraftError as error:
            notes.append(f"The cost of {spec} could not be counted: {error}")
            continue
        loading, running = _timed(seen, positions, clock)
        steps = dict[str, float]()
        for strategy in strategies:
            name, _, cut = strategy.partition("@")
            try:
                resolved = resolve(replace(recipe, strategy=name, cut=cut, options={}), backbone.card)
            except RegraftError as error:
                notes.append(f"{spec} {strategy} was left out: {error.message}")
                continue
            options = resolved.options
            plan = Plan(
                cut=resolved.cut, examples=len(train), others=len(val) + len(session.splits.test), views=resolved.views,
                validated=len(val), trainings=1.0 if session.tests else float(recipe.folds),
                epochs=0 if resolved.strategy.solved else getattr(options, "epochs", 0),
                batch=getattr(options, "batch", 1), min_steps=getattr(options, "min_steps", 0), dtype=resolved.dtype,
            )  # fmt: skip
            if plan.epochs and plan.cut not in steps:
                yield Progress(phase="measuring", done=len(found), total=len(backbones) * len(strategies))
                steps[plan.cut] = _step(backbone, seen, plan.cut, positions, clock)
            rates = Rates(loading=loading, running=running, training=steps.get(plan.cut, 0.0))
            found[spec, strategy] = plan, partial(cost, network, backbone.card.stages, rates=rates)
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

    some = positions[:TRAINED].tolist()
    records = stacked([seen.inputs.load(at, 0, 0)[0] for at in some])
    network, began = backbone.fresh_network(), 0.0
    with torch.random.fork_rng(devices=[]):
        with torch.no_grad():
            state = network.run({name: torch.from_numpy(one) for name, one in records.items()}, upto=cut)
        tail = Tail(network, cut, PooledHead(backbone.card.width, 2), "pooled", batch_norm="frozen").train()
        tail.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(tail.parameters(), lr=0.0)
        for number in range(1 + STEPS):
            began = clock() if number == 1 else began  # the first makes room
            optimiser.zero_grad()
            loss = functional.cross_entropy(tail(state), torch.zeros(len(some), dtype=torch.int64))
            torch.autograd.backward(loss)
            optimiser.step()
    return (clock() - began) / STEPS / len(some)


def costs_of(
    plans: Mapping[tuple[str, str], Priced], piloted: SweepDone | None, opening_s: float
) -> dict[tuple[str, str], tuple[str, Cost]]:
    """Return cut and cost of each recipe, estimates corrected by what the pilot measured. `opening_s` is the time
    before a fit computes anything: imports, data, weights."""
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
    found = {}
    for spec, (plan, priced) in plans.items():
        counted = replace(priced(plan), rest_s=opening_s)
        if spec in ran:
            spent = ran[spec].spent
            rest = sum(seconds for name, seconds in spent.items() if name not in NOT_REST)
            if not plan.epochs:  # solved at once
                rest += spent.get("training", 0.0)
            counted = replace(counted, rest_s=opening_s + rest)
        found[spec] = plan.cut, replace(counted, training_s=counted.training_s * factors.get(spec, others))
    return found


def seconds_of(planned: Priced, epochs: int, share: float) -> float:
    """Return the seconds of a plan with at most this number of epochs on a share of its training examples."""
    plan, priced = planned
    examples = round(plan.examples * share)
    return priced(replace(plan, examples=examples, epochs=min(plan.epochs, epochs), trainings=1.0)).seconds


def is_swept(known: tuple[str, str], swept: Any) -> bool:
    """Return whether a sweep's candidate is this backbone with this strategy, at any cut."""
    strategy, _, cut = known[1].partition("@")
    return (known[0], strategy) == (swept.backbone, swept.strategy) and cut in ("", swept.cut)
