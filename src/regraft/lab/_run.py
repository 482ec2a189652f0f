"""A study from its first cell to its report: what is missing is trained, in order of value, until the time is up."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.errors import RunError, TrainingFailed
from regraft.files import Lock, write_json
from regraft.identity import digest_json
from regraft.lab._cells import MAX_TRAIN_TRIED, Cell, cells_of, measured
from regraft.lab._contract import Study
from regraft.lab._costs import Cost, costs_of
from regraft.lab._examples import Examples
from regraft.lab._kept import Kept, Row, unpacked
from regraft.lab._pace import seconds_a_cell, seconds_a_step, seconds_to_load
from regraft.lab._report import report_of
from regraft.lab._setting import Setting
from regraft.values import Event, Notice, Plan, Progress


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyDone(Event):
    """The last event of a study."""

    path: Path
    """Its folder."""
    report: Mapping[str, Any]
    """What report.json holds."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """On what a study runs, and how long."""

    folder: Path
    """What it keeps: `begun.json`, `rows.jsonl`, `report.json`."""
    device: str
    """Where torch works."""
    machine: str
    """In words, for the page."""
    max_seconds: float | None = None
    """No cell is begun that would end later than this; None is no limit."""
    resume: bool = False
    """Whether a study that lies in the folder is gone on with."""


def run(name: str, study: Study, setting: Setting, examples: Examples, where: Where) -> Iterator[Event]:
    """Train what is missing; yields events, the last a `StudyDone`.

    Raises:
        RunError: the folder holds something else, or this study and `resume` is not set, or is in use.
    """
    _begin(name, setting, examples, where)
    lock = Lock(where.folder / ".lock")
    if not lock.acquire():
        raise RunError(f"Another process works in {where.folder}.", fix="wait for it, or give another --out.")
    try:
        num_classes = examples.task.num_outputs
        costs = costs_of(study, setting, num_classes)
        kept, cells = Kept(where.folder / "rows.jsonl"), cells_of(study, setting, examples.sizes)
        yield from _train(name, study, setting, examples, where, costs, kept, cells)
        rows = [row for cell in cells for row in kept.where(**cell.key)[:1]]
        report = report_of(name, study, setting, examples, costs, rows, cells, where.machine)
        write_json(where.folder / "report.json", report)
        yield StudyDone(path=where.folder, report=report)
    finally:
        shutil.rmtree(_scratch(where), ignore_errors=True)
        lock.release()


def _scratch(where: Where) -> Path:
    """Where first weights lie while a cell is trained."""
    return where.folder / "scratch"


def _begin(name: str, setting: Setting, examples: Examples, where: Where) -> None:
    """Check the folder, and note what lies in it.

    Raises:
        RunError: it holds something else, or this study and `resume` is not set.
    """
    path, begun = where.folder, where.folder / "begun.json"
    signature = {
        "study": name,
        "setting": {field: value for field, value in asdict(setting).items() if field != "seeds"},
        "data": examples.facts.get("fingerprint"),
        "sizes": list(examples.sizes),
    }
    if path.is_file():
        raise RunError(f"{path} is a file; a folder for the study is expected.", fix="give another --out.")
    if not begun.is_file():
        if path.exists() and any(path.iterdir()):
            raise RunError(f"{path} is not empty and holds no study.", fix="give another --out.")
        write_json(begun, {"signature": digest_json(signature), **signature})
        return
    there = json.loads(begun.read_text(encoding="utf-8"))
    if there.get("signature") != digest_json(signature):
        raise RunError(
            f"{path} holds the study {there.get('study')!r} with other settings or data.",
            fix="go on with the command it was started with, or give another --out.",
        )
    if not where.resume:
        raise RunError(f"{path} holds this study already.", fix="add --resume to go on, or give another --out.")


def _train(
    name: str,
    study: Study,
    setting: Setting,
    examples: Examples,
    where: Where,
    costs: Mapping[str, Cost],
    kept: Kept,
    cells: Sequence[Cell],
) -> Iterator[Event]:
    todo = [cell for cell in cells if not kept.where(**cell.key)]
    if not todo:
        return
    began = time.monotonic()
    guess = _guesses(study, setting, examples, where.device, costs, kept, todo)
    total_s = sum(guess[cell.arm] for cell in todo)
    yield Plan(phase=f"lab {name}", examples=len(todo), bytes_needed=0, bytes_free=0, seconds=total_s)
    spent, foreseen = 0.0, 0.0
    for number, cell in enumerate(todo):
        off = spent / foreseen if foreseen else 1.0
        left_s = off * sum(guess[one.arm] for one in todo[number:])
        now = time.monotonic() - began
        if where.max_seconds is not None and now + off * guess[cell.arm] > where.max_seconds:
            yield Notice(
                text=f"{len(todo) - number} of {len(cells)} cells are not run: the next takes about "
                f"{off * guess[cell.arm]:.0f} s, and {max(0.0, where.max_seconds - now):.0f} s are left.",
                topic="time",
            )
            return
        cell_began = time.monotonic()
        try:
            row: Row = yield from _shown(name, study, cell, setting, examples, where, costs, number, len(todo), left_s)
        except TrainingFailed as error:
            row = {**cell.key, "failed": error.message, "seconds": round(time.monotonic() - cell_began, 2)}
        kept.add(row)
        spent, foreseen = spent + time.monotonic() - cell_began, foreseen + guess[cell.arm]
        yield Notice(text=f"{number + 1} of {len(todo)}: {_told(row)}", topic="lab")


def _shown(
    name: str,
    study: Study,
    cell: Cell,
    setting: Setting,
    examples: Examples,
    where: Where,
    costs: Mapping[str, Cost],
    number: int,
    count: int,
    left_s: float,
) -> Any:
    """The events of a cell as progress of the whole; returns its row."""
    work = measured(study, cell, costs[cell.arm].widths, setting, examples, device=where.device,
                    scratch=_scratch(where))  # fmt: skip
    began = time.monotonic()
    try:
        while True:
            event = next(work)
            if isinstance(event, Progress):
                spent = time.monotonic() - began
                yield Progress(
                    phase=f"lab {name}",
                    done=int(setting.steps * (number + event.done / event.total)),
                    total=setting.steps * count,
                    seconds=spent,
                    seconds_left=max(0.0, left_s - spent),
                )
            elif isinstance(event, Notice) and not number:
                yield event
    except StopIteration as stop:
        return stop.value


def _guesses(
    study: Study,
    setting: Setting,
    examples: Examples,
    device: str,
    costs: Mapping[str, Cost],
    kept: Kept,
    todo: Sequence[Cell],
) -> dict[str, float]:
    """Seconds of a cell of every arm: as kept cells took, or from a step that is timed now."""
    tried = len(examples.test) + min(MAX_TRAIN_TRIED, examples.sizes[0] * examples.task.num_outputs)
    tried += len(examples.others.train) + len(examples.others.test) if study.transfer and examples.others else 0
    found, load_s = {}, seconds_to_load(examples, setting) if device == "cpu" else 0.0
    for name in {cell.arm: None for cell in todo}:
        taken = [row["seconds"] for row in kept.where(arm=name)]
        if not taken:
            step_s = seconds_a_step(study.arm(name), costs[name], setting, examples.task.num_outputs, device)
            taken = [seconds_a_cell(step_s + load_s, setting, tried)]
        found[name] = float(np.median(taken))
    return found


def _told(row: Row) -> str:
    told = f"{row['arm']}, {row['size']} a class, seed {row['seed']}"
    if "failed" in row:
        return f"{told}: {row['failed']}"
    return f"{told}: test accuracy {np.mean(unpacked(row['right'])):.3f} in {row['seconds']:.0f} s"
