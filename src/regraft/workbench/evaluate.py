"""Evaluate: measure a trained model on labelled examples it was not trained on.

An evaluation writes the same files as a run: report.json, report.md and report.html with plots, and predictions.csv; so
evaluations can be compared like runs.
"""

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from regraft.bundles.bundle import Bundle, load
from regraft.contracts.page import Finding
from regraft.data.dataset import Dataset
from regraft.data.scan import Scanned
from regraft.errors import BadData, BadRequest, RunError
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.report import Evaluation
from regraft.evaluation.report import evaluate as measured
from regraft.files import atomic_folder, write_text
from regraft.recipe import Source
from regraft.records import from_json
from regraft.reports.page import write_pages
from regraft.reports.panels import panels
from regraft.reports.report import Abstained, Damaged, DataFacts, ModelFacts, Report
from regraft.values import NOTHING, Event, Measured, Notice, Progress
from regraft.words import counted, named
from regraft.workbench._finish import backbone_facts, made_now
from regraft.workbench._machine import choose_device, num_threads
from regraft.workbench.mistakes import Mistake, look, marking, ranked
from regraft.workbench.run import predictions_table, read_predictions, trained_on
from regraft.workbench.session import opening_for, scanning


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated(Event):
    """The last event of `evaluate`."""

    report: Report
    """The results, and what was left out."""


def evaluate(
    run: Path,
    data: Path,
    *,
    out: Path | None = None,
    source: Source | None = None,
    abstain: float | None = None,
    previews: int = 0,
    threads: int = 0,
) -> Iterator[Event]:
    """Evaluate the model in `run` on the labelled data at `data`; yields events, the last one an `Evaluated`.

    If the data have predefined splits, the test split is used, or else the validation split. Unreadable files are
    reported and left out; with `abstain`, the share of rejected examples and the accuracy on the others are reported as
    well. The pages show this many of the largest mistakes, as `previews` of the data, with masks and boxes drawn.

    Raises:
        BadData: a label is not among the model's classes, or no examples are left.
        BadRequest: the targets are a teacher's features, which are not available here; or there are previews and no
            `out`.
    """
    if previews > 0 and out is None:
        raise BadRequest("There is no report that could show previews.", fix="give its folder with --out.")
    if out is not None and out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(
            f"{out} already exists.", fix="choose another --out, or delete it; existing files are not overwritten."
        )
    with nullcontext() if out is None else atomic_folder(out) as folder:
        report = yield from _evaluate(run, data, folder, source or Source(), abstain, previews, threads)
    yield Evaluated(report=report)


def _evaluate(
    run: Path, data: Path, out: Path | None, source: Source, abstain: float | None, previews: int, threads: int
) -> Generator[Event, None, Report]:
    """Yield the events of `evaluate` except the last, and return the report; `out` is an empty folder."""
    bundle = load(run, device=choose_device("auto"), threads=num_threads(threads), workers=num_threads(threads))
    yield from bundle.notices
    if bundle.model.task.taught:
        raise BadRequest(
            f"A {bundle.model.task.kind} model is evaluated against its teacher, which is not saved with it.",
            fix="see the held-out distance in its run; to evaluate its features, use it as a backbone on labelled "
            "data.",
        )
    dataset = yield from opening_for(bundle.model.task, data, source)
    notes = [*dataset.notes]
    split = next((name for name in ("test", "val") if name in dataset.splits), None)
    if split is not None and len(dataset.splits) > 1:
        keep = [i for i, example in enumerate(dataset.examples) if example.split == split]
        notes.append(Notice(text=f"The {split} split ({len(keep)} examples) is evaluated.", topic="data"))
        dataset = dataset.select(keep)
    yield from notes
    bundle.model.task.encode([example.label for example in dataset.examples])  # a label it does not know ends it here
    scanned = yield from scanning(dataset, replace(source, max_damaged_share=1.0), workers=num_threads(threads))
    dataset, notes = scanned.dataset, [*notes, *scanned.notes]
    asked = yield from _ask(bundle, scanned)
    facts = bundle.facts.get("facts") or {}
    abstained = None
    if abstain is not None:
        kept = asked.ood_scores <= abstain
        measured_on = _measured(bundle, asked, kept) if kept.any() else None
        abstained = Abstained(limit=abstain, refused=int((~kept).sum()), evaluation=measured_on)
    report = Report(
        run=made_now(),
        model=ModelFacts(
            name=run.resolve().name,
            path=str(run),
            metrics={name: from_json(Measured, value) for name, value in (facts.get("metrics") or {}).items()},
            **{name: facts[name] for name in ("strategy", "cut", "trained_on_examples", "main")},
        ),
        backbone=backbone_facts(bundle.card, bundle.model.backbone.digest()),
        data=DataFacts(
            name=dataset.root.name,
            kind=dataset.kind,
            examples=len(dataset.examples),
            classes=tuple(bundle.classes),
            groups=None if dataset.groups is None else len(np.unique(dataset.groups)),
            notes=tuple(note.text for note in notes),
            quarantined=asked.damaged,
            fingerprint=dataset.fingerprint,
        ),
        main="test",
        evaluation={"test": _measured(bundle, asked, np.ones(len(asked.ood_scores), dtype=bool))},
        calibration=from_json(Calibration, facts["calibration"]) if facts.get("calibration") else None,
        abstain=abstained,
        findings=_seen_before(run, scanned),
    )
    if out is not None:
        said = {"test": (asked.dataset.examples, asked.outputs)}
        write_text(out / "predictions.csv", predictions_table(bundle.model.task, said))
        shown = _previews(bundle, asked, out, previews) if previews > 0 else []
        sheet = panels([(one.id, seen) for one, seen in shown], large=marking(bundle.model.task))
        rows = [(one.id, one.predicted or NOTHING, one.label or NOTHING) for one, _ in shown]
        write_pages(report, out, mistakes=rows, sheet=sheet)
    return report


def _previews(bundle: Bundle, asked: "_Asked", out: Path, count: int) -> list[tuple[Mistake, bytes | str]]:
    """Return the largest mistakes, and how they look."""
    dataset, task = asked.dataset, bundle.model.task
    place = {one.id: at for at, one in enumerate(dataset.examples)}
    found = ranked(read_predictions(out / "predictions.csv", "test", dataset.kind, bundle.classes))[:count]
    seen = [(dataset.examples[place[one.id]].content, asked.outputs[place[one.id]]) for one in found]
    looks = (look(bundle.modality, content, task, output) for content, output in seen)
    return list(zip(found, looks, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """The model's outputs on the readable examples."""

    dataset: Dataset
    """The readable examples."""
    outputs: Shaped[np.ndarray, "n ..."]
    """Probability of every class or label, values, or structured outputs."""
    ood_scores: Float[np.ndarray, "n"]
    """Distance of each example from the training examples (OOD score); NaN if the model has no reference."""
    damaged: tuple[Damaged, ...]
    """Unreadable files."""


def _seen_before(run: Path, scanned: Scanned) -> tuple[Finding, ...]:
    """Return findings about examples that the model was trained or validated on."""
    known, check = trained_on(run), "training examples"
    if known is None:
        text = "It is unknown whether the model was trained on any of these examples: its run folder is missing."
        return (Finding(check=check, severity="info", message=text),)
    met = np.zeros(len(scanned.rows), dtype=bool)
    for at, name in enumerate(("content", "decoded")):  # the same file, or the same once decoded
        digests = set(map(bytes, known[:, at]))
        met |= [bytes(one) in digests for one in scanned.rows[name]]
    ids = [one.id for one, again in zip(scanned.dataset.examples, met & scanned.usable, strict=True) if again]
    if not ids:
        return ()
    of = counted(int(scanned.usable.sum()), "example")
    text = (
        f"{len(ids):,} of the {of} were used to train or validate the model: results on them measure memorisation, "
        "not generalisation."
    )
    fix = "Evaluate it on unseen examples."
    return (Finding(check=check, severity="warn", message=text, fix=fix, examples=tuple(ids)),)


def _ask(bundle: Bundle, scanned: Scanned) -> Generator[Event, None, _Asked]:
    task = bundle.model.task
    outputs, ood_scores, good, records = list[Any](), [], [], task.answers == "structured"
    damaged = [Damaged(id=one.id, reason=one.reason) for one in scanned.quarantined]
    dataset = scanned.dataset.select(np.flatnonzero(scanned.usable))
    total, unread = len(dataset.examples), len(damaged)
    contents = [example.contents for example in dataset.examples]
    for i, prediction in enumerate(bundle.stream(contents, complete=False)):
        if prediction.error is not None:
            damaged.append(Damaged(id=dataset.examples[i].id, reason=prediction.error))
        else:
            good.append(i)
            outputs.append(
                prediction.record if records else list((prediction.probabilities or prediction.values).values())
            )
            ood_scores.append(np.nan if prediction.ood_score is None else prediction.ood_score)
        yield Progress(phase="prediction", done=i + 1, total=total)
    if others := damaged[unread:]:  # the scan has told of the rest
        told = named(f"{one.id} ({one.reason})" for one in others)
        yield Notice(text=f"{counted(len(others), 'file')} could not be used and left out: {told}.", topic="data")
    if not good:
        many = dataset.reads.many
        raise BadData(f"None of the {len(scanned.rows)} files could be read.", fix=f"pass {many} that can be read.")
    return _Asked(
        dataset=dataset.select(good), outputs=task.restored(outputs) if records else np.array(outputs),
        ood_scores=np.array(ood_scores), damaged=tuple(damaged),
    )  # fmt: skip


def _measured(bundle: Bundle, asked: _Asked, which: Bool[np.ndarray, "n"]) -> Evaluation:
    """Return the metrics on some of the examples."""
    chosen = asked.dataset.select(np.flatnonzero(which))
    targets = bundle.model.task.encode([example.label for example in chosen.examples])
    kind = bundle.model.task.kind
    return measured(targets, asked.outputs[which], bundle.classes, kind=kind, groups=chosen.groups)
