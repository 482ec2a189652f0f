"""Lab: re-measure a published claim about architectures. A study is declarative; its arms are the candidates of a
sweep."""

import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.backbone import family_of
from regraft.backbones.opening import parse
from regraft.contracts.family import sized
from regraft.contracts.study import STUDIES, Study
from regraft.errors import BadData
from regraft.identity import derive_seed
from regraft.lab.judging import Seen, found_of, outcome_of, told
from regraft.recipe import Recipe, Source, Target, with_settings
from regraft.reports.study import StudyReport, write_study
from regraft.values import Event
from regraft.workbench._manifest import write_manifest
from regraft.workbench.run import read_predictions
from regraft.workbench.session import opening
from regraft.workbench.sweep import Ran, SweepDone, compared

CORPUS = Path("data") / "source-images"
"""Path of the corpus within the shared data."""
NUM_CLASSES, PER_CLASS = 20, 250
"""Number of classes of the corpus, and of images per class."""
SMALL = {"epochs": 1, "min_steps": 1130, "batch": 16, "patience": 0}
LONG = {"epochs": 1, "min_steps": 1700, "batch": 64, "patience": 0, "bf16": True}
"""Training options of the arms; `LONG` processes six times as many examples, in larger batches."""
INPUT_PX = 64


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """Summary of a study."""

    name: str
    """Name of the study."""
    title: str
    """The question."""
    claim: str
    """The claim."""
    source: str
    """Publication that makes the claim."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyDone(Event):
    """The last event of a study."""

    path: Path
    """Folder of the study."""
    report: StudyReport
    """Content of report.json."""

    def to_json(self) -> dict[str, Any]:
        """Return the path only; the report is stored beside it."""
        return {"type": type(self).__name__, "path": str(self.path)}


def studies() -> list[StudyFacts]:
    """Return all studies."""
    found: list[tuple[str, Study]] = [(name, STUDIES.get(name)) for name in STUDIES]
    return [StudyFacts(name=name, title=one.title, claim=one.claim, source=one.source) for name, one in found]


def lab(
    name: str,
    *,
    out: Path,
    data: Path | None = None,
    long: bool = False,
    seeds: int = 0,
    max_seconds: float | None = None,
    resume: bool = False,
    publish: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Train the arms of the study `name` and report the verdict; yields events, the last one a `StudyDone`.

    `data=None` uses the corpus; `seeds=0` means five seeds, or three with the long setting. `publish` is a folder to
    write the report to as well, as `lab_NAME.md` with its plots. `settings` are recipe fields that all arms share.

    Raises:
        UnknownName: there is no such study.
        BadData: there are no data.
        RunError: the folder holds something else, or this study and `resume` is not set; or no arm was trained.
    """
    study: Study = STUDIES.get(name)
    manifest = out.parent / f"{out.name}.csv"
    if data is None:
        yield from _corpus(manifest)
    recipe = Recipe(data=str(data or manifest), strategy="scratch", input_px=INPUT_PX, prepare={"resize_px": INPUT_PX},
                    source=Source(val_share=0.0, test_share=0.4))  # fmt: skip
    recipe = with_settings(recipe, settings or {})
    watched = any(effect.measure == "signal" for effect in study.effects)
    options = {**(LONG if long else SMALL), "watch_gradients": watched, **recipe.options}
    arms = {arm.name: replace(recipe, backbone=arm.backbone, options={**options, **arm.options}) for arm in study.arms}
    seeds = seeds or (3 if long else 5)
    for event in compared(recipe, arms, out, sizes=study.shares, seeds=seeds, max_seconds=max_seconds, resume=resume):
        if not isinstance(event, SweepDone):
            yield event
            continue
        flags = f"{'' if data is None else ' --data FOLDER'}{' --long' if long else ''} --seeds {seeds}"
        report = _judged(name, study, event, f"regraft lab {name}{flags} --out {out}")
        write_study(report, out)
        if publish is not None:
            write_study(report, publish, f"lab_{name}")
        yield StudyDone(path=out, report=report)


def _corpus(manifest: Path) -> Generator[Event, None, None]:
    """Write a table of the corpus's classes used in studies, sampled once for all.

    Raises:
        BadData: the corpus is missing.
    """
    shared = Path(os.environ.get("REGRAFT_SHARED", Path("..") / "shared"))
    if not (shared / CORPUS).is_dir():
        raise BadData(
            f"No data were given, and the corpus of the published studies is not at {shared / CORPUS}.",
            fix="pass a folder of images with a subfolder per class, --data FOLDER, or set REGRAFT_SHARED.",
        )
    dataset = yield from opening(shared / CORPUS, Source(), task="classification", target=Target())
    labels = np.array([example.label for example in dataset.examples])
    counts = Counter(labels.tolist())
    enough = sorted(name for name, count in counts.items() if count >= 0.95 * PER_CLASS)
    order = np.random.default_rng(derive_seed(0, "lab", "classes")).permutation(len(enough)).tolist()
    chosen = [enough[at] for at in order[:NUM_CLASSES]]
    positions = np.sort(np.concatenate([np.flatnonzero(labels == one)[:PER_CLASS] for one in chosen]))
    manifest.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(dataset.examples, positions, np.full(len(labels), "", dtype="U5"), np.arange(len(labels)), manifest)


def _judged(name: str, study: Study, done: SweepDone, command: str) -> StudyReport:
    """Judge the results."""
    trained: dict[str, dict[tuple[float, int], Seen]] = {}
    ids: tuple[str, ...] = ()
    groups = None
    for ran in done.cells:
        table = read_predictions(ran.folder / "predictions.csv", ran.report.main, ran.report.data.kind)
        ids = ids or table.ids
        table = table.in_order(ids, table.task.classes)
        groups = np.array(table.groups) if all(table.groups) else None
        trained.setdefault(ran.candidate, {})[ran.share, ran.seed] = _seen(
            ran, table.outputs.argmax(1) == table.targets
        )
    num_classes = len(done.cells[0].report.data.classes)
    costs = costs_of(study, num_classes)
    found = found_of(study, trained, costs, groups)
    outcome = outcome_of(found)
    return StudyReport(
        study=name, title=study.title, claim=study.claim, source=study.source, measurement=study.measurement,
        arms=study.arms, costs=costs, effects=tuple(found), outcome=outcome, command=command, sweep=done.report,
        verdict=f"{study.says[outcome]} {told(found)}",
    )  # fmt: skip


def _seen(ran: Ran, right: np.ndarray) -> Seen:
    curve = ran.report.strategy.curve if ran.report.strategy else ()
    sizes = {
        name: [epoch[name] for epoch in curve] for name in (curve[0] if curve else ()) if name.startswith("gradient ")
    }
    gap = next((one.worse_by.value for one in ran.report.gaps if one.from_split == "train"), float("nan"))
    return Seen(right=right, gap=gap, gradients={name: float(np.mean(many)) for name, many in sizes.items()})


def costs_of(study: Study, num_classes: int) -> dict[str, dict[str, int]]:
    """Return the costs of each arm's finished model, with a linear head for this number of classes."""
    from regraft.backbones.costs import costs_of as counted

    found = {}
    for arm in study.arms:
        spec = parse(arm.backbone)
        family, variant = family_of(spec.family, spec.variant)
        card = sized(family, family.card(variant), INPUT_PX)
        stages, head = counted(family, card.buildable).stages, card.width * num_classes
        found[arm.name] = {
            "parameters": sum(one.parameters for one in stages) + head + num_classes,
            "multiply_adds": sum(one.multiply_adds for one in stages) + head,
        }
    return found
