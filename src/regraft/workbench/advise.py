"""Advise: which backbone to reuse, how much of it to retrain, and whether the difference is detectable at all.

Test labels are never used: after splitting, only training and validation examples are read. First, linear probes and
transferability scores of every backbone are computed on stored features; then, within the budget, a pilot by successive
halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): the best backbones with all strategies on half of the training
examples, then the better half of these recipes on all, evaluated on a hold-out.
"""

import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.advisor.cost import Cost
from regraft.advisor.noise import predicted, smallest_difference
from regraft.backbones.backbone import Backbone
from regraft.contracts.metric import main_metric
from regraft.contracts.strategy import STRATEGIES
from regraft.data.dataset import Dataset
from regraft.errors import BadRequest, RunError
from regraft.evaluation.intervals import measure
from regraft.evaluation.many import ranked
from regraft.files import claimed
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.recipe import Recipe, Source
from regraft.reports import report as reported
from regraft.reports.advice import AdviceReport, Candidate, Looked, read_advice, verdict, write_advice
from regraft.reports.sweep import SweepReport
from regraft.values import Event, Measured, Notice, Progress, Written
from regraft.words import JOINT, listed
from regraft.workbench._evidence import (
    Examined,
    curve_of,
    disagreement_of,
    scores_of,
    similarity_of,
    stages_of,
    weakest_of,
)
from regraft.workbench._machine import choose_device, clock_of, num_threads
from regraft.workbench._manifest import check_files, write_manifest
from regraft.workbench._priced import Priced, costs_of, is_swept, plans_of, seconds_of
from regraft.workbench.features import Probed, probed
from regraft.workbench.recipes import named, open_for, suited
from regraft.workbench.session import MIN_VALIDATION, open_session
from regraft.workbench.sweep import SweepDone, candidates_of, compared

HELD_OUT, HALF = 0.3, 0.5
"""Share of the training examples held out to evaluate the pilot; share of the rest for its first round."""
EPOCHS = 8
"""Maximum epochs of fine-tuning in the pilot. Our choice."""
NUM_BACKBONES = 2
"""Number of backbones in the pilot."""
BUDGET_S = 600.0
"""Default time budget in wall-clock seconds."""
CANDIDATES = ("probe", "partial", "full")
"""Default strategies to choose from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Advised(Written):
    """The last event of `advise`."""

    report: AdviceReport


def advise(
    recipe: Recipe, out: Path, *, backbones: Sequence[str], strategies: Sequence[str], budget_s: float = BUDGET_S,
    dataset: Dataset | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Advise on the recipe's data, or on `dataset` if already opened; yields events, the last one an `Advised`.
    `budget_s` is in wall-clock seconds.

    Raises:
        UnknownName: there is no such backbone or strategy.
        BadRequest: there is nothing to choose from, or the task's head cannot be solved.
        BadData: the data are not usable.
        RunError: the folder holds something else.
    """
    if not backbones or not strategies:
        raise BadRequest("There are no candidates to choose from.", fix="name at least one backbone and one strategy.")
    began = time.monotonic()
    with claimed(out / "advice.json", "advice", {"data": recipe.data}, resume=False):
        threads = num_threads(recipe.threads)
        clock = clock_of(choose_device(recipe.device))
        started = clock()
        session = yield from open_session(recipe, dataset, workers=threads)
        opening_s, weights_s = clock() - started, 0.0
        positions = session.learnable
        data = Examined(session=session, positions=positions, task=session.task, num_test=len(session.splits.test))
        found: dict[str, tuple[Backbone, Probed]] = {}
        for at, spec in enumerate(dict.fromkeys(backbones)):
            yield Progress(phase="backbones", done=at, total=len(backbones))
            before = clock()
            backbone = yield from open_for(recipe, spec)
            weights_s = max(weights_s, clock() - before)
            backbone = suited(recipe, session.dataset, backbone)
            seen = yield from probed(recipe, backbone, session.scanned, session.task, session.targets, positions)
            if seen.outputs is None:
                raise BadRequest("All examples belong to one group or class, so nothing can be compared.",
                                 fix="add examples of other groups or classes.")  # fmt: skip
            found[spec] = backbone, seen
        data = replace(data, opening_s=opening_s + weights_s)
        report = yield from _advice(recipe, data, found, strategies, out, began, budget_s)
        write_advice(report, out)
    yield Advised(report=report, path=out)


def _advice(
    recipe: Recipe, data: Examined, found: Mapping[str, tuple[Backbone, Probed]], strategies: Sequence[str], out: Path,
    began: float, budget_s: float,
) -> Generator[Event, None, AdviceReport]:  # fmt: skip
    session, task = data.session, data.task
    name = main_metric(task.kind).name
    said = {spec: seen.outputs for spec, (_, seen) in found.items() if seen.outputs is not None}
    known = np.all([np.isfinite(one).all(axis=1) for one in said.values()], axis=0)
    groups = session.user_groups(data.positions)
    groups_known = None if groups is None else groups[known]
    outputs = {spec: one[known] for spec, one in said.items()}
    targets = data.targets[known]
    probes = {
        spec: measure(main_metric(task.kind), targets, one, groups=groups_known, seed=recipe.seed)
        for spec, one in outputs.items()
    }
    standing = ranked(targets, {spec: [one] for spec, one in outputs.items()}, metric=name, groups=groups_known,
                      seed=recipe.seed)  # fmt: skip
    order = [one.name for one in standing.standings]
    notes = list[str]()
    looked = tuple(
        Looked(name=spec, probe=probes[spec],
               scores=scores_of(task, found[spec][1].features, data.targets, found[spec][0]),
               similarity=similarity_of(spec, *found[spec], recipe.seed, notes))
        for spec in order
    )  # fmt: skip
    plans = yield from plans_of(
        recipe, session, data.positions, {spec: found[spec] for spec in order}, strategies, notes
    )
    some = [(spec, strategy) for spec in order[:NUM_BACKBONES] for strategy in strategies]
    piloted = yield from _pilot(recipe, data, some, plans, out, began + budget_s, notes)
    pilot, costs = piloted.report if piloted else None, costs_of(plans, piloted, data.opening_s)
    looked = tuple(
        replace(one, inside=stages_of(data, found[one.name][1], one.name, began + budget_s, notes)) for one in looked
    )
    disagreement = disagreement_of(task, targets, list(outputs.values()))
    units = data.num_test or len(data.positions)
    tested = session.num_groups(session.splits.test if data.num_test else data.positions)
    floor = smallest_difference(min(units, tested or units), disagreement) if task.exclusive else None
    candidates = _candidates(pilot, {one.name: one for one in standing.standings}, probes, costs, units)
    best = found[order[0]][1]
    return AdviceReport(
        data=Path(recipe.data).name, described=session.dataset.describe(), metric=name, num_train=len(data.positions),
        num_test=data.num_test, num_groups=session.num_groups(data.positions), noise_floor=floor,
        disagreement=disagreement, backbones=looked, candidates=tuple(candidates), curve=curve_of(data, best),
        weakest=weakest_of(data, best), budget_s=budget_s, seconds=time.monotonic() - began, not_done=tuple(notes),
    )  # fmt: skip


def _pilot(
    recipe: Recipe, data: Examined, chosen: Sequence[tuple[str, str]], plans: Mapping[tuple[str, str], Priced],
    out: Path, until: float, notes: list[str],
) -> Generator[Event, None, SweepDone | None]:  # fmt: skip
    """Run successive halving by sweeps over training examples only; None if there was no time, or nothing to
    compare."""
    session, manifest = data.session, out / "pilot.csv"
    if len(data.positions) < 2 * MIN_VALIDATION:
        notes.append(f"No pilot: fewer than {2 * MIN_VALIDATION} training examples.")
        return None
    try:
        check_files(session.dataset.examples, manifest)
    except BadRequest as error:
        notes.append(f"No pilot: {error.message}")
        return None
    splits = np.full(len(session.dataset.examples), "train", dtype="U5")
    held = split(session.task.strata(data.targets), session.splits.groups[data.positions], HELD_OUT,
                 derive_seed(recipe.seed, "pilot"))  # fmt: skip
    splits[data.positions[held]] = "test"
    write_manifest(session.dataset.examples, data.positions, splits, session.splits.groups, manifest)
    shared = replace(
        recipe, data=str(manifest), task=session.task.kind, options={"epochs": EPOCHS, **recipe.options}, cut="",
        source=Source(label_delimiter=JOINT if session.task.facts.get("delimiter") else "", max_damaged_share=1.0),
    )  # fmt: skip
    last: SweepDone | None = None
    for round_, share in enumerate((HALF, 1.0)):
        left = until - time.monotonic()
        if left <= 0:
            break
        if long := [
            one for one in chosen if one in plans and seconds_of(plans[one], EPOCHS, (1 - HELD_OUT) * share) > left
        ]:
            names = listed([" ".join(one) for one in long], 6)
            notes.append(f"Round {round_ + 1} of the pilot had no time for {names}.")
            chosen = [one for one in chosen if one not in long]
        if not chosen:
            break
        folder, before = out / f"pilot-{round_ + 1}", last
        try:
            candidates = candidates_of(shared, chosen)
            events = compared(shared, candidates, folder, sizes=(share,), seeds=1, max_seconds=left)
            for event in events:
                if isinstance(event, SweepDone):
                    last = event
                else:
                    yield event
        except RunError as error:
            notes.append(f"Round {round_ + 1} of the pilot was not completed: {error.message}")
            break
        assert last is not None
        if last.report.not_run and before is not None:
            notes.append(
                "The time did not suffice for the whole second round of the pilot, so the ranking follows the first."
            )
            return before
        ordered = [(one.backbone, one.strategy) for one in last.report.candidates]
        chosen = [(one, strategy) for one, strategy in ordered[: max(2, (len(ordered) + 1) // 2)]]
    if last is None or len(last.report.candidates) < 2:
        notes.append("No pilot: the time did not suffice to compare two recipes, so the ranking follows the probes.")
        return None
    return last


def taken(
    recipe: Recipe, out: Path, dataset: Dataset | None = None
) -> Generator[Event, None, tuple[Recipe, reported.Advised]]:
    """Return the recipe with `auto` replaced by the advice in the folder `out`, and the advice's predictions.

    Existing advice is reused; interrupted advice starts again.
    """
    if not (out / "report.json").is_file():
        shutil.rmtree(out, ignore_errors=True)
        asked = replace(recipe, strategy="probe", backbone=recipe.backbone.partition(",")[0])
        backbones = [one.strip() for one in recipe.backbone.split(",")]
        for event in advise(asked, out, backbones=backbones, strategies=CANDIDATES, dataset=dataset,
                            budget_s=recipe.max_seconds or BUDGET_S):  # fmt: skip
            if not isinstance(event, Advised):
                yield event
    report = read_advice(out)
    best = report.advised
    yield Notice(text=verdict(report), topic="advice")
    changed = replace(recipe, backbone=best.backbone, strategy=best.strategy)
    known = {field.name for field in fields(STRATEGIES.get(named(changed).name).Options)}
    options = {name: one for name, one in recipe.options.items() if name in known}
    return replace(changed, options=options), reported.Advised(
        reason=best.reason, predicted=best.predicted, seconds=best.cost.seconds if best.cost else None
    )


def _candidates(
    pilot: SweepReport | None, standings: Mapping[str, Any], probes: Mapping[str, Measured],
    costs: Mapping[tuple[str, str], tuple[str, Cost]], num_test: int,
) -> list[Candidate]:  # fmt: skip
    """Return the pilot's candidates in its order, then those not tried."""
    found, names = list[Candidate](), set[tuple[str, str]]()
    if pilot is not None:
        for one in pilot.candidates:
            spec = next((known for known in costs if is_swept(known, one)), (one.backbone, one.strategy))
            names.add(spec)
            behind = (
                "the best of the pilot" if one is pilot.candidates[0] else f"behind the best by {one.behind.told()}"
            )
            found.append(Candidate(
                backbone=one.backbone, strategy=spec[1], cut=one.cut, measured=one.measured,
                predicted=predicted(one.measured, pilot.num_examples, num_test), tied=one.tied,
                cost=costs[spec][1] if spec in costs else None,
                reason=f"{behind} on {pilot.num_examples:,} held-out training examples.",
            ))  # fmt: skip
    else:
        for name, one in standings.items():
            spec = (name, "probe")
            names.add(spec)
            measured = probes[name]
            found.append(Candidate(
                backbone=name, strategy="probe", cut="output", measured=measured,
                predicted=predicted(measured, num_test, num_test), tied=one.tied,
                cost=costs[spec][1] if spec in costs else None,
                reason="only the probes were compared, out of fold on all training examples.",
            ))  # fmt: skip
    for spec, (cut, price) in costs.items():
        if spec not in names:
            found.append(Candidate(
                backbone=spec[0], strategy=spec[1], cut=cut, measured=None, predicted=None, tied=False, cost=price,
                reason="not tried in the last round of the pilot.",
            ))  # fmt: skip
    return found
