"""Evaluate: a trained model on labelled examples that it has not seen."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.bundles.bundle import Bundle, load
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.errors import BadData
from regraft.evaluation.report import as_json
from regraft.evaluation.report import evaluate as measured
from regraft.files import write_json
from regraft.recipe import Source
from regraft.values import Event, Notice, Progress
from regraft.workbench._device import choose_device, num_threads


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
    bundle = load(run, device=choose_device("auto"), threads=num_threads(threads), workers=num_threads(threads))
    dataset = open_dataset(
        data,
        path_column=source.path_column,
        label_column=source.label_column,
        split_column=source.split_column,
        group_column=source.group_column,
        group_pattern=source.group_pattern or None,
        strip_labels=source.strip_labels,
        learnable=False,
    )
    yield from dataset.notes
    part = next((name for name in ("test", "val") if name in dataset.splits), None)
    if part is not None and len(dataset.splits) > 1:
        keep = [i for i, example in enumerate(dataset.examples) if example.split == part]
        yield Notice(text=f"The {part} part ({len(keep)} examples) is evaluated.", topic="data")
        dataset = dataset.select(keep)
    targets = bundle.model.task.encode([example.label for example in dataset.examples])
    report = yield from _measure(bundle, dataset, targets, abstain)
    if out is not None:
        write_json(out, report)
    yield Evaluated(report=report)


def _measure(
    bundle: Bundle, dataset: Dataset, targets: np.ndarray, abstain: float | None
) -> Generator[Event, None, dict[str, Any]]:
    probabilities, unlike, good, damaged = [], [], [], []
    total = len(dataset.examples)
    for i, prediction in enumerate(bundle.stream([example.path for example in dataset.examples])):
        if prediction.error is not None:
            damaged.append({"id": dataset.examples[i].id, "reason": prediction.error})
        else:
            good.append(i)
            probabilities.append(list(prediction.probabilities.values()))
            unlike.append(np.nan if prediction.unlike is None else prediction.unlike)
        yield Progress(phase="prediction", done=i + 1, total=total)
    if damaged:
        yield Notice(
            text=f"{len(damaged)} files could not be read and are left out: {damaged[0]['id']} …", topic="data"
        )
    if not good:
        raise BadData(f"None of the {total} files could be read.", fix="give files that are whole pictures.")
    rows, table = np.array(good), np.array(probabilities)
    groups = None if dataset.groups is None else dataset.groups[rows]
    found = measured(targets[rows], table, bundle.classes, groups=groups)
    report: dict[str, Any] = {
        "format": 1,
        "data": {"name": dataset.root.name, "examples": total, "quarantined": damaged},
        "evaluation": found.to_json(),
    }
    if abstain is not None:
        answered = np.array(unlike) <= abstain
        report["abstain"] = {
            "limit": abstain,
            "refused": int((~answered).sum()),
            "evaluation": measured(
                targets[rows][answered], table[answered], bundle.classes,
                groups=None if groups is None else groups[answered],
            ).to_json() if answered.any() else None,
        }  # fmt: skip
    return {**report, "model": {"classes": list(bundle.classes), "card": as_json(bundle.facts.get("facts", {}))}}
