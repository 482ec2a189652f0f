"""Sweep: compare candidates on the same splits, seeds and stored activations, with tests of the differences.

A candidate is a backbone with a strategy (`partial`, or `partial@4e` with its cut). Every cell is an ordinary fit in
its own folder, so interrupted sweeps can be resumed. Splits and views have the same seed in all cells (`split_seed`),
so that activations are computed once and predictions are paired by example.
"""

import json
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from regraft.activations.fill import Want
from regraft.backbones.opening import named_card
from regraft.bundle_format import TENSORS
from regraft.contracts.metric import main_metric
from regraft.contracts.metric import metric as metric_named
from regraft.contracts.strategy import STRATEGIES
from regraft.errors import BadRequest, RegraftError, RunError
from regraft.evaluation.many import ranked
from regraft.files import claimed, write_json
from regraft.recipe import Recipe
from regraft.reports.report import Report, read_report
from regraft.reports.sweep import Candidate, Cell, Point, SweepReport, write_sweep
from regraft.values import Event, Notice, Plan, Progress, Written
from regraft.workbench._machine import Phases, clock_of
from regraft.workbench._training import opened, rows_of
from regraft.workbench.fit import fit
from regraft.workbench.recipes import backbone_spec, named, resolve
from regraft.workbench.run import Predictions, RunDone, read_predictions

PASSES = "activations.json"
"""File with, by backbone, the seconds per view of all examples, if one pass filled several cuts."""
TAIL = "tail.safetensors"
"""File with what a cell keeps of its model: the tensors that training changed. The rest follows from its recipe."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepDone(Written):
    """The last event of `sweep`."""

    report: SweepReport
    """Content of `report.json`."""
    cells: "tuple[Ran, ...]"
    """The finished cells."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ran:
    """A run of a sweep."""

    candidate: str
    """Name of the candidate."""
    share: float
    """Share of the training examples."""
    seed: int
    folder: Path
    """Folder of the run, without a model."""
    report: Report


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cell:
    candidate: str
    share: float
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        size = "" if self.share == 1 else f", {self.share:.0%} of the training examples"
        return f"{self.candidate}, seed {self.seed}{size}"

    @property
    def folder(self) -> str:
        words = self.candidate.replace("/", "-").replace(":", "-").replace(" ", "_")
        return f"{words}-{self.share:g}-seed{self.seed}"


def sweep(
    recipe: Recipe, out: Path, *, backbones: Sequence[str], strategies: Sequence[str], **how: Any
) -> Iterator[Event]:
    """Fit every backbone with every strategy and compare them; yields events, the last one a `SweepDone`.

    `recipe` holds the shared settings; `how` are parameters of `compared`.

    Raises:
        UnknownName: there is no such backbone, strategy or metric.
        BadRequest: there is nothing to compare, or a size or the number of seeds is out of range.
        RunError: the folder holds something else, or this sweep and `resume` is not set; or no candidate was trained.
    """
    pairs = [(backbone, strategy) for backbone in backbones for strategy in strategies]
    yield from compared(recipe, candidates_of(recipe, pairs), out, **how)


def candidates_of(recipe: Recipe, pairs: Sequence[tuple[str, str]]) -> dict[str, Recipe]:
    """Return recipes by name for pairs of a backbone and a strategy, optionally with its cut (`partial@4e`)."""
    found = {strategy: named(replace(recipe, strategy=strategy.partition("@")[0])).name for _, strategy in pairs}
    own = {spec: {field.name for field in fields(STRATEGIES.get(name).Options)} for spec, name in found.items()}
    known, made = set[str]().union(*own.values()), dict[str, Recipe]()
    for backbone, strategy in pairs:
        named_card(backbone)
        name, _, cut = strategy.partition("@")
        # An option that some of the strategies have is for those alone; one that none has fails in each.
        options = {key: one for key, one in recipe.options.items() if key in own[strategy] or key not in known}
        made[f"{backbone} {strategy}"] = replace(
            recipe, options=options, backbone=backbone, strategy=name, cut=cut or recipe.cut
        )
    return made


def compared(
    recipe: Recipe,
    candidates: Mapping[str, Recipe],
    out: Path,
    *,
    sizes: Sequence[float] = (1.0,),
    seeds: int = 3,
    metric: str | None = None,
    max_seconds: float | None = None,
    resume: bool = False,
) -> Iterator[Event]:
    """Fit every candidate with every seed and compare them; yields events, the last one a `SweepDone`.

    `recipe` holds the shared settings: data, splits and the first seed. `sizes` are shares of the training examples in
    (0, 1]; candidates are compared at the largest. `max_seconds`: cells that would end later are not started. The
    default metric is the task's main one. Failed cells are left out of the ranking, with the reason.

    Raises:
        UnknownName: there is no such strategy or metric.
        BadRequest: there is nothing to compare, or a size or the number of seeds is out of range.
        RunError: the folder holds something else, or this sweep and `resume` is not set; or no candidate was trained.
    """
    if metric is not None:
        metric_named(metric)
    cells = _cells(candidates, sizes, range(recipe.seed, recipe.seed + seeds))
    shared = json.loads(json.dumps(asdict(recipe), default=str))
    with claimed(out / "sweep.json", "sweep", {"recipe": shared}, resume=resume):
        not_run, failed = yield from _run(cells, out, max_seconds)
        done = [cell for cell in cells if (out / cell.folder / "report.json").is_file()]
        reports = {cell: read_report(out / cell.folder) for cell in done}
        report = _report(shared, reports, out, metric, not_run, failed)
        write_sweep(report, out)
    ran = [Ran(candidate=cell.candidate, share=cell.share, seed=cell.seed, folder=out / cell.folder, report=one)
           for cell, one in reports.items()]  # fmt: skip
    yield SweepDone(path=out, report=report, cells=tuple(ran))


def _cells(candidates: Mapping[str, Recipe], sizes: Sequence[float], seeds: Sequence[int]) -> list[_Cell]:
    """Return all cells in order of value: one seed of every candidate at full size, then other seeds, then smaller
    sizes.

    Solved heads do not depend on the seed, so they get one (smaller sizes are sampled by seed).
    """
    if not candidates:
        raise BadRequest(
            "A sweep needs at least one backbone and one strategy.", fix="name them: --strategies probe,partial."
        )
    if not seeds:
        raise BadRequest("seeds is below 1; it must be 1 or more.", fix="use 3 or more to get intervals over seeds.")
    if wrong := [size for size in sizes if not 0 < size <= 1]:
        raise BadRequest(
            f"The size {wrong[0]:g} is not a share of the training examples in (0, 1].",
            fix="write, for example, 10,50,100%.",
        )
    solved = {
        name for name, one in candidates.items()
        if STRATEGIES.get(named(one).name).solved and not one.backbone.endswith("@random")
    }  # fmt: skip
    return [
        _Cell(candidate=name, share=share, seed=seed, recipe=replace(
            one, seed=seed, split_seed=one.seed_of_data, source=replace(one.source, train_share=share)
        ))
        for share in sorted(set(sizes), reverse=True)
        for seed in seeds
        for name, one in candidates.items()
        if not (seed > seeds[0] and share == 1 and name in solved)
    ]  # fmt: skip


def _run(
    cells: Sequence[_Cell], out: Path, max_seconds: float | None
) -> Generator[Event, None, tuple[list[str], list[Cell]]]:
    """Fit the missing cells until the time is up; return those not run, and those that failed."""
    todo = [cell for cell in cells if not (out / cell.folder / "report.json").is_file()]
    not_run, failed = list[str](), list[Cell]()
    if not todo:
        return not_run, failed
    yield Plan(phase="sweep", examples=len(todo), bytes_needed=0, bytes_free=0, seconds=None)
    began, taken, told = time.monotonic(), dict[str, list[float]](), set[str]()
    yield from _fill(todo, out, told)
    for number, cell in enumerate(todo):
        expected = median(taken.get(cell.candidate) or [0.0]) * cell.share
        if max_seconds is not None and time.monotonic() - began + expected > max_seconds:
            not_run.append(cell.name)
            continue
        started, folder = time.monotonic(), out / cell.folder
        try:
            for event in fit(cell.recipe, folder, resume=(folder / "begun.json").is_file()):
                if isinstance(event, RunDone):
                    report = event.report
                yield from _told_once(event, f"{number + 1}/{len(todo)} {cell.name}", told)
        except RegraftError as error:
            failed.append(Cell(name=cell.name, reason=error.message))
            yield Notice(text=f"{cell.name} failed: {error.message}", topic="sweep")
            continue
        _keep_tail(folder, report)
        taken.setdefault(cell.candidate, []).append((time.monotonic() - started) / cell.share)
        every = [one for many in taken.values() for one in many]
        left = sum(median(taken.get(one.candidate) or every) * one.share for one in todo[number + 1 :])
        yield Notice(text=f"{number + 1} of {len(todo)}, {cell.name}: {_told(report)}", topic="sweep")
        yield Progress(
            phase="sweep", done=number + 1, total=len(todo), seconds=time.monotonic() - began, seconds_left=left
        )
    return not_run, failed


def _fill(cells: Sequence[_Cell], out: Path, told: set[str]) -> Generator[Event, None, None]:
    """Compute, in one pass over the examples, what several candidates need of one backbone at all their cuts.

    The duration is recorded as part of the candidates' costs. Errors are not raised here: the candidate's own run
    reports invalid data or a full store.
    """
    for backbone in dict.fromkeys(cell.recipe.backbone for cell in cells):
        candidates = {cell.candidate: cell.recipe for cell in reversed(cells) if cell.recipe.backbone == backbone}
        recipe = max(candidates.values(), key=lambda one: one.source.train_share)
        if len(candidates) == 1 or recipe.precision != "float32" or backbone.endswith("@random"):  # drawn by seed
            continue
        with suppress(RegraftError):
            for event in _filled_together(recipe, list(candidates.values()), out / PASSES):
                yield from _told_once(event, backbone, told)


def _filled_together(recipe: Recipe, candidates: Sequence[Recipe], kept: Path) -> Generator[Event, None, None]:
    setup = yield from opened(recipe, None, Phases(lambda event: None))
    views = {("output", "float32"): 1}
    for one in candidates:
        asked = resolve(one, setup.unfitted.card)
        if asked.views and backbone_spec(one) == recipe.backbone:
            at = asked.cut, asked.dtype
            views[at] = max(views.get(at, 0), asked.views)
    if len(views) == 1:
        return
    wants = [Want(cut=cut, views=count, dtype=dtype) for (cut, dtype), count in views.items()]
    clock = clock_of(setup.device)
    rows, began = rows_of(setup, wants, setup.session.usable.tolist()), clock()
    with closing(rows.activations):
        missing = sum(rows.activations.plan(want, rows.examples).examples for want in wants)
        yield from rows.fill()
    if missing:
        passes = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        seconds = (clock() - began) / max(views.values())
        write_json(kept, passes | {recipe.backbone: max(seconds, passes.get(recipe.backbone, 0.0))})


def _told_once(event: Event, phase: str, told: set[str]) -> Iterator[Event]:
    """Yield progress under the name of its phase, and each notice only once."""
    if isinstance(event, Progress):
        yield replace(event, phase=f"{phase}: {event.phase}", facts={})
    elif isinstance(event, Notice) and event.text not in told:
        told.add(event.text)
        yield event


def _keep_tail(folder: Path, report: Report) -> None:
    """Keep only the tensors of the model that training changed."""
    trained = report.strategy.trained_stages if report.strategy else ()
    kept = ("head/", "ood/", *(f"{stage}/" for stage in trained))
    tensors = load_file(folder / "model" / TENSORS)
    save_file({name: one for name, one in tensors.items() if name.startswith(kept)}, folder / TAIL)
    shutil.rmtree(folder / "model")


def _told(report: Report) -> str:
    section = report.section
    if section is None:
        return "all runs failed"
    return f"{section.main_metric.replace('_', ' ')} {section.headline.told()}"


def _report(
    recipe: Mapping[str, Any],
    reports: Mapping[_Cell, Report],
    out: Path,
    metric: str | None,
    not_run: Sequence[str],
    failed: Sequence[Cell],
) -> SweepReport:
    """Rank the finished cells; `recipe` is the shared part, as JSON. Raises `RunError` if no candidate was trained."""
    largest = max((cell.share for cell in reports), default=1.0)
    at_full: dict[str, dict[int, _Cell]] = {}
    for cell, report in reports.items():
        if cell.share == largest and report.section is not None:
            at_full.setdefault(cell.candidate, {})[cell.seed] = cell
    if not at_full:
        why = failed[0].reason if failed else "the time did not suffice for a single run"
        raise RunError(f"No candidate was measured: {why}", fix="see the run folders, or allow more time.")
    # A candidate that needs no seeds stands for itself in each of those that the others share.
    every_seed = sorted({seed for seeds in at_full.values() for seed in seeds})
    several = [set(seeds) for seeds in at_full.values() if len(seeds) > 1]
    seeds = sorted(set(every_seed).intersection(*several)) if several else every_seed[:1]
    first = reports[next(iter(at_full[next(iter(at_full))].values()))]
    kind, split = first.data.kind, first.main
    chosen = metric or main_metric(kind).name
    tables = {
        name: [_predictions(out, found.get(seed) or next(iter(found.values())), split, first) for seed in seeds]
        for name, found in at_full.items()
    }
    reference = next(iter(tables.values()))[0]
    outputs = {
        name: [one.in_order(reference.ids, reference.task.classes).outputs for one in many]
        for name, many in tables.items()
    }
    grouped = any(reference.groups)
    groups = np.array([group or f"\0{at}" for at, group in enumerate(reference.groups)]) if grouped else None
    ranking = ranked(reference.targets, outputs, metric=chosen, groups=groups, seed=recipe["seed"])
    costs = _seconds(at_full, reports, out / PASSES)
    sign = 1.0 if metric_named(chosen).higher_is_better else -1.0
    values = {one.name: sign * one.measured.value for one in ranking.standings}
    candidates = []
    for one in ranking.standings:
        cell = next(iter(at_full[one.name].values()))
        strategy, backbone = reports[cell].strategy, reports[cell].backbone
        candidates.append(
            Candidate(
                name=one.name, backbone=cell.recipe.backbone, strategy=cell.recipe.strategy,
                cut=strategy.cut if strategy else "", measured=one.measured, by_seed=one.by_seed, behind=one.behind,
                tied=one.tied, seconds=costs[one.name], parameters_trained=backbone.parameters_trained or 0,
                on_front=not any(
                    costs[name] <= costs[one.name] and values[name] >= values[one.name]
                    and (costs[name], values[name]) != (costs[one.name], values[one.name])
                    for name in costs
                ),
                curve=_curve(one.name, reports, chosen),
            )
        )  # fmt: skip
    return SweepReport(
        data=first.data.name, metric=chosen, split=split, num_examples=len(reference.ids),
        num_groups=len(set(reference.groups)) if grouped else None, seeds=tuple(seeds), candidates=tuple(candidates),
        optimism=ranking.optimism, num_pairs=ranking.num_pairs,
        machine=f"{first.environment.get('platform', '')}, {first.environment.get('threads', '')} threads",
        not_run=tuple(not_run), failed=tuple(failed), recipe=recipe,
    )  # fmt: skip


def _predictions(out: Path, cell: _Cell, split: str, like: Report) -> Predictions:
    return read_predictions(out / cell.folder / "predictions.csv", split, like.data.kind, like.data.classes)


def _seconds(
    at_full: Mapping[str, Mapping[int, _Cell]], reports: Mapping[_Cell, Report], passes: Path
) -> dict[str, float]:
    """Seconds of a run of each candidate (`Report.spent`): training, and its activations as long as the first run took
    that had to compute them, or its share by views of the pass that computed them for several."""
    shared = json.loads(passes.read_text(encoding="utf-8")) if passes.is_file() else {}
    filling: dict[tuple[str, str, int | None], float] = {}
    training: dict[str, list[float]] = {}
    key_of = {}
    for name, cells in at_full.items():
        for cell in cells.values():
            report = reports[cell]
            spent = report.spent
            cut, views = (report.strategy.cut, report.strategy.views) if report.strategy else ("", None)
            key_of[name] = (cell.recipe.backbone, cut, views)
            together = shared.get(cell.recipe.backbone, 0.0) * (views or 0)
            filling[key_of[name]] = max(filling.get(key_of[name], 0.0), spent.get("activations", 0.0), together)
            training.setdefault(name, []).append(spent.get("training", 0.0))
    return {name: round(mean(many) + filling[key_of[name]], 3) for name, many in training.items()}


def _curve(candidate: str, reports: Mapping[_Cell, Report], metric: str) -> tuple[Point, ...]:
    found: dict[float, dict[int, tuple[float, int]]] = {}
    for cell, report in reports.items():
        if cell.candidate == candidate and report.section is not None and metric in report.section.metrics:
            splits = report.data.splits
            size = sum(splits[name].examples for name in ("train", "validation") if name in splits)
            found.setdefault(cell.share, {})[cell.seed] = (report.section.metrics[metric].value, size)
    return tuple(
        Point(
            share=share, examples=round(mean(size for _, size in many.values())),
            by_seed={seed: value for seed, (value, _) in many.items()},
        )
        for share, many in sorted(found.items())
    )  # fmt: skip
