"""Audit: find problems in labelled data before training.

Test examples are included: nothing is selected here that a model would later be evaluated with. Data that `fit` would
refuse are audited too, and the reason is a finding.

Letters: n examples, d features, c outputs.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from regraft.auditing.mending import Mended, mended
from regraft.contracts.audit import CHECKS, SessionView
from regraft.contracts.page import Finding
from regraft.data.dataset import Dataset, check_learnable
from regraft.data.scan import Scanned
from regraft.errors import BadData, BadRequest, MissingExtra, Undecodable
from regraft.evaluation.intervals import share
from regraft.recipe import Recipe
from regraft.reports.audit import NUM_PREVIEWS, AuditReport, write_audit
from regraft.values import Event, Measured, Notice, Progress
from regraft.words import counted
from regraft.workbench._machine import num_threads
from regraft.workbench._manifest import check_files, write_manifest
from regraft.workbench.features import probed
from regraft.workbench.recipes import open_for, suited
from regraft.workbench.session import opening, scanning, task_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Audited(Event):
    """The last event of `audit`."""

    report: AuditReport
    """The findings."""
    path: Path | None
    """The folder with the report; None if not requested."""
    manifest: Path | None
    """The table with the clean split; None if not requested."""

    def to_json(self) -> dict[str, Any]:
        """Return the report, and the paths."""
        return {"path": self.path, "manifest": self.manifest, "report": self.report}


def audit(
    recipe: Recipe, *, out: Path | None = None, checks: Sequence[str] = (), fix_split: Path | None = None,
    dataset: Dataset | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Run these checks (default: all) on the recipe's data, or on `dataset` if already opened; yields events, the last
    one an `Audited`.

    `out` is the folder of the report, whose files are replaced. `fix_split` is the path of a table with a clean split.

    Raises:
        UnknownName: there is no such check or backbone.
        BadRequest: the clean split cannot be written as a table.
        BadData: there are no examples.
    """
    chosen = {name: CHECKS.get(name) for name in checks or CHECKS.names()}
    settings = replace(recipe.source, max_damaged_share=1.0)
    if dataset is None:
        dataset = yield from opening(
            Path(recipe.data), settings, modality=recipe.modality, task=recipe.task, target=recipe.target,
            learnable=False,
        )  # fmt: skip
    if fix_split is not None:
        check_files(dataset.examples, fix_split)
    scanned = yield from scanning(dataset, settings, workers=num_threads(recipe.threads))
    findings, notes = list[Finding](), [note.text for note in scanned.dataset.notes]
    try:
        notes += [note.text for note in check_learnable(dataset)]
    except BadData as error:
        findings.append(Finding(check="Learnable", severity="stop", message=error.message, fix=error.fix))
    needed = fix_split is not None or any(check.needs_features for check in chosen.values())
    view, probe, not_checked = yield from _seen(recipe, scanned, needed)
    for at, check in enumerate(chosen.values()):
        yield Progress(phase="checks", done=at, total=len(chosen))
        try:
            findings += check.run(view)
        except MissingExtra as error:
            not_checked.append(f"{check.title}: {error.message} {error.fix}")
    yield Progress(phase="checks", done=len(chosen), total=len(chosen))
    findings.sort(key=lambda one: ("stop", "warn", "info").index(one.severity))
    for text in not_checked:
        yield Notice(text=f"Not checked: {text}", topic="audit")
    report = AuditReport(
        data=Path(recipe.data).name, described=scanned.dataset.describe(), findings=tuple(findings), probe=probe,
        backbone=view.card.name if view.features is not None else "", not_checked=tuple(not_checked),
        checks=tuple(check.title for check in chosen.values()), notes=tuple(notes),
    )  # fmt: skip
    if out is not None:
        write_audit(report, _previews(view, report), out)
    if fix_split is not None:
        yield from _write_table(view, mended(view), fix_split)
    yield Audited(report=report, path=out, manifest=fix_split)


def _seen(
    recipe: Recipe, scanned: Scanned, needed: bool
) -> Generator[Event, None, tuple[SessionView, Measured | None, list[str]]]:
    """Return the data for the checks, with features if needed and available; the probe's accuracy; and what cannot be
    checked."""
    dataset = scanned.dataset
    task = task_of(dataset, recipe)
    dataset = replace(dataset, classes=task.classes)
    scanned = replace(scanned, dataset=dataset)
    targets = task.targets(dataset.examples)
    backbone = yield from open_for(recipe, recipe.backbone)
    view = SessionView(
        data=recipe.data, examples=dataset.examples, modality=scanned.modality, task=task, targets=targets,
        prints=scanned.rows, decoded=scanned.decoded, groups=dataset.groups, card=backbone.card, seed=recipe.seed,
    )  # fmt: skip
    usable = np.flatnonzero(scanned.usable)
    if not needed or len(usable) < 2:
        return view, None, []
    try:
        backbone = suited(recipe, dataset, backbone)
        view = replace(view, card=backbone.card)
        found = yield from probed(recipe, backbone, scanned, task, targets, usable)
    except (BadData, BadRequest) as error:
        return view, None, [f"checks that need features of a backbone: {error.message} {error.fix}"]
    judged = found.outputs if task.answers == "probabilities" else None
    view = replace(
        view,
        features=_spread(found.features, usable, len(targets)),
        probabilities=None if judged is None else _spread(judged, usable, len(targets)),
        record=lambda at: found.inputs.load(at, 0, 0)[0],
    )
    return view, _accuracy(view), []


def _accuracy(view: SessionView) -> Measured | None:
    """Return the accuracy of the probe, for tasks with exclusive classes."""
    if view.probabilities is None or not view.task.exclusive:
        return None
    judged = np.isfinite(view.probabilities).all(axis=1)
    right = np.nan_to_num(view.probabilities).argmax(axis=1) == view.targets
    return share(right, judged, groups=view.groups, seed=view.seed)


def _spread(rows: np.ndarray, positions: Int[np.ndarray, " k"], total: int) -> Float[np.ndarray, "n d"]:
    """Scatter rows of some examples into an array over all; nan for the others."""
    every = np.full((total, rows.shape[1]), np.nan, dtype=np.float32)
    every[positions] = rows
    return every


def _previews(view: SessionView, report: AuditReport) -> dict[str, bytes | str]:
    wanted = {name for one in report.findings for name in one.examples[:NUM_PREVIEWS]}
    found = dict[str, bytes | str]()
    for example in view.examples:
        if example.id in wanted:
            try:
                found[example.id] = view.modality.preview(example.content)
            except Undecodable as error:
                found[example.id] = error.reason
    return found


def _write_table(view: SessionView, clean: Mended, path: Path) -> Iterator[Event]:
    """Write the clean split as a table that `fit` can read, with notices about omitted examples."""
    write_manifest(view.examples, np.flatnonzero(clean.kept), clean.splits, clean.sets, path)
    told = [f"{counted(len(some), 'example')} ({reason})" for reason, some in clean.left_out.items() if len(some)]
    said = f"{path}: {counted(int(clean.kept.sum()), 'example')}"
    said += "; all splits were redrawn, because too few training examples would be left" if clean.redrawn else ""
    said += f"; left out: {', '.join(told)}." if told else "; nothing was left out."
    yield Notice(text=said, topic="split")
