"""Evaluate: a trained model on labelled examples that it has not seen.

What a test leaves in its folder: report.json, report.md with its plots, and predictions.csv, as a run does; so two
tests can be compared as two runs are.
"""

import datetime
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from regraft.bundles.bundle import Bundle, load
from regraft.contracts.card import Card
from regraft.data.dataset import Dataset
from regraft.errors import BadData, RunError
from regraft.evaluation.report import evaluate as measured
from regraft.files import write_json, write_text
from regraft.recipe import Source
from regraft.reports.markdown import render_test
from regraft.reports.plots import write_plots
from regraft.values import Event, Notice, Progress
from regraft.version import VERSION
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._predictions import Answer, predictions_table
from regraft.workbench.session import opening_for


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated(Event):
    """The last event of an evaluation."""

    report: Mapping[str, Any]
    """The numbers, with what was left out."""


def evaluate(
    run: Path,
    data: Path,
    *,
    out: Path | None = None,
    source: Source | None = None,
    abstain: float | None = None,
    threads: int = 0,
) -> Iterator[Event]:
    """Measure the model in `run` on the labelled data at `data`; yields events, the last one an `Evaluated`.

    Where the data come divided, their test part is used, or else their validation part. Unreadable files are reported
    and left out; with `abstain`, the share of refused examples and the accuracy on the others are given as well.

    Raises:
        BadData: a label is none of the model's classes, or nothing is left to measure on.
    """
    source = source or Source()
    if out is not None and out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} is there already.", fix="give another --out, or delete it: nothing is overwritten.")
    bundle = load(run, device=choose_device("auto"), threads=num_threads(threads), workers=num_threads(threads))
    dataset = yield from opening_for(bundle.model.task, data, source)
    examples, more = dataset.reads.grouped(dataset.examples, None)
    dataset = replace(dataset, examples=tuple(examples), notes=(*dataset.notes, *more))
    notes = [*dataset.notes]
    part = next((name for name in ("test", "val") if name in dataset.splits), None)
    if part is not None and len(dataset.splits) > 1:
        keep = [i for i, example in enumerate(dataset.examples) if example.split == part]
        notes.append(Notice(text=f"The {part} part ({len(keep)} examples) is evaluated.", topic="data"))
        dataset = dataset.select(keep)
    yield from notes
    bundle.model.task.encode([example.label for example in dataset.examples])  # a label it does not know ends it here
    asked = yield from _ask(bundle, dataset)
    report = {
        "format": 1,
        "regraft": VERSION,
        "run": {"created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")},
        "model": _model(bundle, run),
        "backbone": _backbone(bundle.card),
        "data": {
            "name": dataset.root.name,
            "kind": dataset.kind,
            "examples": len(dataset.examples),
            "classes": list(bundle.classes),
            "groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
            "notes": [note.text for note in notes],
            "quarantined": asked.damaged,
        },
        "main": "test",
        "evaluation": {"test": _measured(bundle, asked, np.ones(len(asked.unlike), dtype=bool))},
        "calibration": (bundle.facts.get("facts") or {}).get("calibration"),
    }
    if abstain is not None:
        answered = asked.unlike <= abstain
        report["abstain"] = {
            "limit": abstain,
            "refused": int((~answered).sum()),
            "evaluation": _measured(bundle, asked, answered) if answered.any() else None,
        }
    if out is not None:
        _keep(out, report, bundle, asked)
    yield Evaluated(report=report)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """What the model said of the examples that could be read."""

    dataset: Dataset
    """These examples."""
    outputs: Float[np.ndarray, "n k"]
    """Probability of every class or tag, or the numbers."""
    unlike: Float[np.ndarray, "n"]
    """How unlike the training examples each is; NaN where the model cannot tell."""
    damaged: list[dict[str, str]]
    """Name of each other file, and why it could not be read."""


def _ask(bundle: Bundle, dataset: Dataset) -> Generator[Event, None, _Asked]:
    outputs, unlike, good, damaged = [], [], [], []
    total = len(dataset.examples)
    for i, prediction in enumerate(bundle.stream([example.contents for example in dataset.examples])):
        if prediction.error is not None:
            damaged.append({"id": dataset.examples[i].id, "reason": prediction.error})
        else:
            good.append(i)
            outputs.append(list((prediction.probabilities or prediction.values).values()))
            unlike.append(np.nan if prediction.unlike is None else prediction.unlike)
        yield Progress(phase="prediction", done=i + 1, total=total)
    if damaged:
        yield Notice(
            text=f"{len(damaged)} files could not be read and are left out: {damaged[0]['id']} …", topic="data"
        )
    if not good:
        raise BadData(
            f"None of the {total} files could be read.", fix=f"give files that are whole {dataset.reads.many}."
        )
    return _Asked(dataset=dataset.select(good), outputs=np.array(outputs), unlike=np.array(unlike), damaged=damaged)


def _measured(bundle: Bundle, asked: _Asked, which: Bool[np.ndarray, "n"]) -> Any:
    """The metrics on some of the examples, as JSON."""
    chosen = asked.dataset.select(np.flatnonzero(which))
    targets = bundle.model.task.encode([example.label for example in chosen.examples])
    kind = bundle.model.task.kind
    return measured(targets, asked.outputs[which], bundle.classes, kind=kind, groups=chosen.groups).to_json()


def _model(bundle: Bundle, run: Path) -> dict[str, Any]:
    facts = bundle.facts.get("facts") or {}
    names = ("strategy", "cut", "trained_on_examples", "main", "metrics")
    return {"name": run.resolve().name, "path": str(run), **{name: facts.get(name) for name in names}}


def _backbone(card: Card) -> dict[str, Any]:
    known = {name: getattr(card, name) for name in ("name", "weights", "licence", "trained_on", "source")}
    return {**known, "input_px": list(card.input_px)}


def _keep(out: Path, report: Mapping[str, Any], bundle: Bundle, asked: _Asked) -> None:
    task, examples = bundle.model.task, asked.dataset.examples
    targets = task.encode([example.label for example in examples])
    answers = (
        Answer(part="test", id=example.id, group=example.group or "", target=np.asarray(target), outputs=row)
        for example, target, row in zip(examples, targets, asked.outputs, strict=True)
    )
    write_text(out / "predictions.csv", predictions_table(task.kind, task.classes, answers))
    write_text(out / "report.md", render_test(report, write_plots(report, out)))
    write_json(out / "report.json", report)
