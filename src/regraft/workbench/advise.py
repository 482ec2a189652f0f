"""Advise: which backbone to reuse, how much of it to retrain, and whether the difference is detectable at all.

Test labels are never used: after splitting, only training and validation examples are read. All of it is within the
budget: first linear probes on stored features of the backbones, on a sample of the examples if need be; then a pilot by
successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): the best backbones with the strategies that there is
time for on half of the training examples, then the better half of these recipes on all, evaluated on a hold-out; then
transferability scores and whatever else does not affect the ranking. What there was no time for is said.
"""

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from regraft.advisor.cost import Cost
from regraft.advisor.noise import predicted, smallest_difference
from regraft.contracts.metric import main_metric
from regraft.contracts.strategy import STRATEGIES
from regraft.data.dataset import Dataset
from regraft.errors import BadRequest, RunError
from regraft.evaluation.intervals import measure
from regraft.evaluation.many import Standing, ranked
from regraft.files import claimed
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.recipe import Recipe, Source
from regraft.reports import report as reported
from regraft.reports.advice import AdviceReport, Candidate, Looked, read_advice, verdict, write_advice
from regraft.reports.sweep import SweepReport
from regraft.values import Event, Measured, Notice, Written
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
from regraft.workbench._priced import CELL_S, Priced, costs_of, is_swept, piloting, plans_of, seconds_of
from regraft.workbench._probing import Known, probe_in_time
from regraft.workbench.recipes import named
from regraft.workbench.session import MIN_VALIDATION, open_session
from regraft.workbench.sweep import SweepDone, candidates_of, compared

HELD_OUT, HALF = 0.3, 0.5
"""Share of the training examples held out to evaluate the pilot; share of the rest for its first round."""
UNMEASURED = "nothing was measured; a probe is the cheapest model, and what every other one is compared with."
"""Reason for a rank without a measurement."""
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
    candidates_of(recipe, pairs := [(backbone, one) for backbone in backbones for one in strategies])  # reject early
    clock, notes = clock_of(choose_device(recipe.device)), list[str]()
    began, worked = time.monotonic(), clock()
    with claimed(out / "advice.json", "advice", {"data": recipe.data}, resume=False):
        session = yield from open_session(recipe, dataset, workers=num_threads(recipe.threads))
        opening_s, until = clock() - worked, began + budget_s
        found = yield from probe_in_time(recipe, session, list(dict.fromkeys(backbones)), until, notes)
        some = next(iter(found.values())).positions if found else session.learnable
        data = Examined(session=session, positions=some, task=session.task, num_test=len(session.splits.test))
        said = {spec: one.seen.outputs for spec, one in found.items() if one.seen.outputs is not None}
        timed = Timed(began=began, until=until, opening_s=opening_s, worked=worked, clock=clock)
        report = yield from _advice(recipe, data, found, said, pairs, out, timed, notes)
        write_advice(report, out)
    yield Advised(report=report, path=out)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The time of an advice."""

    began: float
    until: float
    """When it ends, by `time.monotonic`."""
    opening_s: float
    """Seconds for opening the data, including imports."""
    worked: float
    clock: Callable[[], float]
    """Clock of the seconds that costs are counted in, and what it said at the beginning."""

    @property
    def left(self) -> float:
        """Wall-clock seconds left."""
        return self.until - time.monotonic()

    @property
    def pace(self) -> float:
        """Wall-clock seconds so far, per second of the clock: less than 1 with several threads."""
        return (time.monotonic() - self.began) / max(self.clock() - self.worked, 1e-3)


def _advice(
    recipe: Recipe, data: Examined, found: Mapping[str, Known], said: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]], out: Path, timed: Timed, notes: list[str],
) -> Generator[Event, None, AdviceReport]:  # fmt: skip
    session, task, metric = data.session, data.task, main_metric(data.task.kind)
    strategies, order, standings = list(dict.fromkeys(one for _, one in pairs)), list[str](), dict[str, Standing]()
    outputs, probes, targets, floor = dict[str, np.ndarray](), dict[str, Measured](), data.targets, None
    disagreement = 0.0
    if said:
        judged = np.all([np.isfinite(one).all(axis=1) for one in said.values()], axis=0)
        groups = session.user_groups(data.positions)
        within = None if groups is None else groups[judged]
        outputs, targets = {spec: one[judged] for spec, one in said.items()}, targets[judged]
        probes = {spec: measure(metric, targets, one, groups=within, seed=recipe.seed) for spec, one in outputs.items()}
        ranking = ranked(targets, {spec: [one] for spec, one in outputs.items()}, metric=metric.name, groups=within,
                         seed=recipe.seed)  # fmt: skip
        standings = {one.name: one for one in ranking.standings}
        order, disagreement = list(standings), disagreement_of(task, targets, list(outputs.values()))
        units = data.num_test or len(session.learnable)
        tested = session.num_groups(session.splits.test if data.num_test else session.learnable)
        floor = smallest_difference(min(units, tested or units), disagreement) if task.exclusive else None
    best = {spec: found[spec] for spec in order[:NUM_BACKBONES]}
    plans = yield from plans_of(recipe, session, best, strategies, timed.until, notes)
    chosen = [(spec, strategy) for spec in best for strategy in strategies]
    piloted = yield from _pilot(recipe, data, chosen, plans, out, timed, notes) if chosen else _nothing()
    rest = {spec: found[spec] for spec in order[NUM_BACKBONES:]}
    plans |= yield from plans_of(recipe, session, rest, strategies, timed.until, notes)
    costs = costs_of(plans, piloted, found, timed.opening_s)
    looked = [Looked(name=spec, probe=probes[spec], scores={}) for spec in order]
    for at, spec in enumerate(order):
        if timed.left > 0:
            backbone, seen = found[spec].backbone, found[spec].seen
            similar = similarity_of(spec, backbone, seen, recipe.seed, notes)
            scores = scores_of(task, seen.features, data.targets, backbone)
            looked[at] = replace(looked[at], scores=scores, similarity=similar)
    if order and timed.left <= 0:
        notes.append("The time did not suffice for all transferability scores and distances from the pretraining data.")
    for at, spec in enumerate(order):  # the stages inside take about as long as the probe did
        inside = stages_of(data, found[spec].seen, spec, timed.until - found[spec].wall_s, notes)
        looked[at] = replace(looked[at], inside=inside)
    if piloted:
        notes.append("The pilot trained on a subset of the training examples, for a few epochs.")
    candidates = _candidates(
        piloted.report if piloted else None, standings, probes, costs, len(data.positions),
        data.num_test or len(session.learnable), pairs, metric.range,
    )  # fmt: skip
    first = found[order[0]].seen if order else None
    return AdviceReport(
        data=Path(recipe.data).name, described=session.dataset.describe(), metric=metric.name,
        num_train=len(session.learnable), num_test=data.num_test, num_groups=session.num_groups(session.learnable),
        noise_floor=floor, disagreement=disagreement, backbones=tuple(looked), candidates=tuple(candidates),
        curve=curve_of(data, first) if first and timed.left > 0 else None,
        weakest=weakest_of(data, first) if first else "", budget_s=timed.until - timed.began,
        seconds=time.monotonic() - timed.began, not_done=tuple(notes),
    )  # fmt: skip


def _nothing() -> Generator[Event, None, None]:
    yield from ()


def _pilot(
    recipe: Recipe, data: Examined, chosen: Sequence[tuple[str, str]], plans: Mapping[tuple[str, str], Priced],
    out: Path, timed: Timed, notes: list[str],
) -> Generator[Event, None, SweepDone | None]:  # fmt: skip
    """Run successive halving by sweeps over training examples only; None if there was no time, or nothing to
    compare."""
    session, manifest, positions = data.session, out / "pilot.csv", data.session.learnable
    if len(positions) < 2 * MIN_VALIDATION:
        notes.append(f"No pilot: fewer than {2 * MIN_VALIDATION} training examples.")
        return None
    try:
        check_files(session.dataset.examples, manifest)
    except BadRequest as error:
        notes.append(f"No pilot: {error.message}")
        return None
    splits = np.full(len(session.dataset.examples), "train", dtype="U5")
    held = split(session.task.strata(session.targets[positions]), session.splits.groups[positions], HELD_OUT,
                 derive_seed(recipe.seed, "pilot"))  # fmt: skip
    splits[positions[held]] = "test"
    write_manifest(session.dataset.examples, positions, splits, session.splits.groups, manifest)
    shared = replace(
        recipe, data=str(manifest), task=session.task.kind, options=piloting(recipe.options), cut="",
        source=Source(label_delimiter=JOINT if session.task.facts.get("delimiter") else "", max_damaged_share=1.0),
    )  # fmt: skip
    last: SweepDone | None = None
    for round_, share in enumerate((HALF, 1.0)):
        left, at = timed.left, (1 - HELD_OUT) * share
        prices = {one: timed.pace * (seconds_of(plans[one], at, HELD_OUT) if one in plans else CELL_S)
                  for one in chosen}  # fmt: skip
        # As much time for one round as for the other, unless that is too little to compare two recipes.
        some = _affordable(prices, left if round_ else left / 2)
        some = some if len(some) > 1 else _affordable(prices, left)
        if late := [one for one in chosen if one not in some]:
            notes.append(
                f"Round {round_ + 1} of the pilot had no time for {listed([' '.join(one) for one in late], 6)}."
            )
        if len(some) < 2:
            break
        folder, before = out / f"pilot-{round_ + 1}", last
        try:
            candidates = candidates_of(replace(shared, max_seconds=left), some)
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
        chosen = [next(known for known in chosen if is_swept(known, one)) for one in last.report.candidates]
        chosen = chosen[: max(2, (len(chosen) + 1) // 2)]
    if last is None or len(last.report.candidates) < 2:
        notes.append("No pilot: the time did not suffice to compare two recipes, so the ranking follows the probes.")
        return None
    return last


def _affordable(prices: Mapping[tuple[str, str], float], left: float) -> list[tuple[str, str]]:
    """Return the recipes that there is time for, the cheapest first, in the order given."""
    some = set[tuple[str, str]]()
    for one in sorted(prices, key=prices.__getitem__):
        if prices[one] <= left:
            left -= prices[one]
            some.add(one)
    return [one for one in prices if one in some]


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
    pilot: SweepReport | None, standings: Mapping[str, Standing], probes: Mapping[str, Measured],
    costs: Mapping[tuple[str, str], tuple[str, Cost]], num_probed: int, num_test: int,
    pairs: Sequence[tuple[str, str]], within: tuple[float, float],
) -> list[Candidate]:  # fmt: skip
    """Return the pilot's candidates in its order, or the probes in theirs; then those not tried, cheapest kind first:
    pretrained before random weights, solved before trained heads."""
    found, names = list[Candidate](), set[tuple[str, str]]()

    def add(spec: tuple[str, str], cut: str, reason: str, measured: Measured | None = None, num: int = 0,
            tied: bool = False) -> None:  # fmt: skip
        names.add(spec)
        price = costs.get(spec)
        found.append(Candidate(
            backbone=spec[0], strategy=spec[1], cut=cut or (price[0] if price else ""), measured=measured, tied=tied,
            predicted=predicted(measured, num, num_test, within=within) if measured else None,
            cost=price and price[1], reason=reason,
        ))  # fmt: skip

    for at, one in enumerate(pilot.candidates if pilot else ()):
        assert pilot is not None
        spec = next((known for known in pairs if is_swept(known, one)), (one.backbone, one.strategy))
        behind = f"behind the best by {one.behind.told()}" if at else "the best of the pilot"
        reason = f"{behind} on {pilot.num_examples:,} held-out training examples."
        add(spec, one.cut, reason, one.measured, pilot.num_examples, one.tied)
    for name, standing in standings.items() if not pilot else ():
        reason = f"only probes were compared, out of fold on {num_probed:,} training examples."
        add((name, "probe"), "output", reason, probes[name], num_probed, standing.tied)
    why = "not tried in the last round of the pilot." if pilot else "not tried." if standings else UNMEASURED
    for spec in sorted(pairs, key=lambda one: (one[0].endswith("@random"), one[1] != "probe")):
        if spec not in names:
            add(spec, "", why)
    return found
