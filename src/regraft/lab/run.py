"""A study from its first cell to its report: what is missing is trained, in order of value, until the time is up."""

import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.study import Arm, Study
from regraft.errors import TrainingFailed
from regraft.files import claimed, write_json
from regraft.lab._arms import Cost, costs_of, tail_of
from regraft.lab._cells import MAX_TRAIN_TRIED, Cell, cells_of, measured
from regraft.lab._report import report_of
from regraft.lab.kept import Kept, Row, unpacked
from regraft.lab.setting import Examples, Setting
from regraft.tasks.linear import linear
from regraft.values import Event, Notice, Plan, Progress

REPEATS = 2
"""Steps that are timed, after one that warms up; the quickest counts."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """Everything that training a study's cells needs."""

    name: str
    study: Study
    setting: Setting
    examples: Examples
    where: Where
    costs: Mapping[str, Cost]
    kept: Kept


def run(name: str, study: Study, setting: Setting, examples: Examples, where: Where) -> Iterator[Event]:
    """Train what is missing; yields events, the last a `StudyDone`.

    Raises:
        RunError: the folder holds something else, or this study and `resume` is not set, or is in use.
    """
    costs = costs_of(study, setting, linear(examples.task).num_outputs)
    facts = _facts(name, study, setting, examples, costs)
    with claimed(where.folder / "begun.json", "study", facts, resume=where.resume):
        try:
            kept = Kept(where.folder / "rows.jsonl")
            work = _Work(
                name=name, study=study, setting=setting, examples=examples, where=where, costs=costs, kept=kept
            )
            cells = cells_of(study, setting, examples.sizes)
            yield from _train(work, cells)
            rows = [row for cell in cells for row in kept.where(**cell.key)[:1]]
            report = report_of(name, study, setting, examples, costs, rows, cells, where.machine)
            write_json(where.folder / "report.json", report)
            yield StudyDone(path=where.folder, report=report)
        finally:
            shutil.rmtree(where.folder / "scratch", ignore_errors=True)


def _facts(name: str, study: Study, setting: Setting, examples: Examples, costs: Mapping[str, Cost]) -> dict[str, Any]:
    """What a study must be the same in to be gone on with; there may be other seeds."""
    arms = {arm.name: (costs[arm.name], arm.options) for arm in study.arms}
    return {
        "study": name,
        "setting": {field: value for field, value in asdict(setting).items() if field != "seeds"},
        "data": examples.facts.get("fingerprint"),
        **({"views": "of held images"} if examples.facts.get("views_on") else {}),
        "sizes": list(examples.sizes),
        "arms": {name: [cost.parameters, cost.multiply_adds, dict(rest)] for name, (cost, rest) in arms.items()},
    }


def _train(work: _Work, cells: Sequence[Cell]) -> Iterator[Event]:
    """Train the cells that are missing, until the time is up."""
    todo = [cell for cell in cells if not work.kept.where(**cell.key)]
    if not todo:
        return
    began, most = time.monotonic(), work.where.max_seconds
    guess = _guesses(work, todo)
    total_s = sum(guess[cell.arm] for cell in todo)
    yield Plan(phase=f"lab {work.name}", examples=len(todo), bytes_needed=0, bytes_free=0, seconds=total_s)
    spent, foreseen = 0.0, 0.0
    for number, cell in enumerate(todo):
        off = spent / foreseen if foreseen else 1.0
        now, next_s = time.monotonic() - began, off * guess[cell.arm]
        if most is not None and now + next_s > most:
            yield Notice(
                text=f"{len(todo) - number} of {len(cells)} cells are not run: the next takes about {next_s:.0f} s, "
                f"and {max(0.0, most - now):.0f} s are left.",
                topic="time",
            )
            return
        left_s, cell_began = off * sum(guess[one.arm] for one in todo[number:]), time.monotonic()
        try:
            row: Row = yield from _shown(work, cell, number, len(todo), (now, left_s))
        except TrainingFailed as error:
            row = {**cell.key, "failed": error.message, "seconds": round(time.monotonic() - cell_began, 2)}
        work.kept.add(row)
        spent, foreseen = spent + time.monotonic() - cell_began, foreseen + guess[cell.arm]
        yield Notice(text=f"{number + 1} of {len(todo)}: {_told(row)}", topic="lab")


def _shown(
    work: _Work, cell: Cell, number: int, count: int, clock: tuple[float, float]
) -> Generator[Event, None, dict[str, Any]]:
    """The events of a cell, the `number`th of `count`, as progress of the whole; returns its row. `clock` are seconds
    gone and left as the cell begins.

    What training has to notice is the same for all cells, so it is told of the first.
    """
    began, steps = time.monotonic(), work.setting.steps
    training = measured(
        work.study, cell, work.costs[cell.arm].widths, work.setting, work.examples,
        device=work.where.device, scratch=work.where.folder / "scratch",
    )  # fmt: skip
    while True:
        try:
            event = next(training)
        except StopIteration as stop:
            return stop.value
        if isinstance(event, Progress):
            spent = time.monotonic() - began
            yield Progress(
                phase=f"lab {work.name}",
                done=int(steps * (number + event.done / event.total)),
                total=steps * count,
                seconds=clock[0] + spent,
                seconds_left=max(0.0, clock[1] - spent),
            )
        elif isinstance(event, Notice) and not number:
            yield event


def _guesses(work: _Work, todo: Sequence[Cell]) -> dict[str, float]:
    """Seconds of a cell of every arm: as kept cells took, or from a step that is timed now."""
    study, setting, examples, device = work.study, work.setting, work.examples, work.where.device
    tried = len(examples.test) + min(MAX_TRAIN_TRIED, examples.sizes[0] * linear(examples.task).num_outputs)
    tried += len(examples.others.train) + len(examples.others.test) if study.transfer and examples.others else 0
    load_s = 0.0
    if device == "cpu":  # a batch is decoded and cut beside training, which counts where cores are few
        positions = examples.drawn(examples.sizes[0], 0)[: setting.batch]
        began = time.perf_counter()
        examples.states.batch(positions, np.ones_like(positions))
        load_s = time.perf_counter() - began
    found = {}
    for name in dict.fromkeys(cell.arm for cell in todo):
        taken = [row["seconds"] for row in work.kept.where(arm=name)]
        if not taken:  # all steps, and trying examples, each of which costs a third of a step's arithmetic
            step_s = load_s + _seconds_a_step(study.arm(name), work)
            taken = [step_s * (setting.steps + tried / setting.batch / 3)]
        found[name] = float(np.median(taken))
    return found


def _seconds_a_step(arm: Arm, work: _Work) -> float:
    """Wall seconds of a step on a batch of noise: forward, backward, update; auxiliary classifiers included."""
    import torch

    setting, device, taken = work.setting, work.where.device, []
    widths, sided = work.costs[arm.name].widths, bool(arm.options.get("side_heads"))
    with torch.random.fork_rng(devices=[]):
        tail = tail_of(
            arm.design, widths, setting.input_px, linear(work.examples.task).num_outputs, sided=sided
        ).train()
        tail.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (setting.batch, setting.input_px, setting.input_px, 3)
        noise = torch.randint(256, shape, dtype=torch.uint8).to(device)
        optimiser = torch.optim.AdamW(tail.parameters(), lr=0.0, fused=device in ("cpu", "cuda"))
        for _ in range(1 + REPEATS):
            began = time.perf_counter()
            passed = tail.passed({"pixels": noise})
            squares = [one.square().mean() for one in (passed.logits, *passed.sides.values())]
            torch.stack(squares).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _told(row: Row) -> str:
    told = f"{row['arm']}, {row['size']} a class, seed {row['seed']}"
    if "failed" in row:
        return f"{told}: {row['failed']}"
    return f"{told}: test accuracy {np.mean(unpacked(row['right'])):.3f} in {row['seconds']:.0f} s"
