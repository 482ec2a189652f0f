"""Sections of a run's report that rest on no evaluation: the data, and what the numbers depend on beside the recipe."""

import platform
from typing import Any

import numpy as np

from regraft.contracts.strategy import Problem
from regraft.contracts.task import Task
from regraft.workbench.session import Session


def data_section(session: Session, problem: Problem) -> dict[str, Any]:
    """Examples by part, what was noted of them, and what was left out."""
    dataset, parts = session.dataset, session.splits

    def part(positions: np.ndarray) -> dict[str, Any] | None:
        if not len(positions):
            return None
        return {"examples": len(positions), **_told(session.task, session.targets[positions])}

    return {
        "name": dataset.root.name,
        "kind": dataset.kind,
        "examples": len(dataset.examples),
        "classes": list(dataset.classes),
        "parts": {"train": part(problem.train), "val": part(problem.val), "test": part(parts.test)},
        "drawn_by_us": parts.drawn_by_us,
        "groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
        "notes": [note.text for note in (*dataset.notes, *parts.notes)],
        "quarantined": [{"id": damaged.id, "reason": damaged.reason} for damaged in session.scanned.quarantined],
        "fingerprint": dataset.fingerprint,
    }


def _told(task: Task, targets: np.ndarray) -> dict[str, Any]:
    """Examples of each class or with each tag; of numbers the least, the median and the greatest."""
    if task.answers == "values":
        table = np.quantile(targets, [0, 0.5, 1], axis=0).T.tolist()
        ends = [dict(zip(("least", "median", "greatest"), row, strict=True)) for row in table]
        return {"per_class": {}, "values": dict(zip(task.classes, ends, strict=True))}
    if task.answers == "records":
        return {"per_class": {}}
    counts = np.bincount(targets, minlength=len(task.classes)) if task.exclusive else (targets > 0).sum(axis=0)
    return {"per_class": dict(zip(task.classes, counts.tolist(), strict=True))}


def environment(device: str, threads: int, backend: str) -> dict[str, Any]:
    """What the numbers depend on beside the recipe."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "onnxruntime": version("onnxruntime"),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": device,
        "threads": threads,
        "backend": backend,
    }
