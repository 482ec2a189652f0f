"""What the rows of the benchmark share: commands measured as wholes, ratios taken round by round, verdicts.

Wall seconds are what a person waits for and what the bars are about. CPU seconds (of all threads and child processes)
stand beside them, because they move less when the machine has other work.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a process took."""

    wall: float
    """Seconds from start to end."""
    cpu: float
    """Seconds of CPU of the process and of its children."""
    printed: str
    """What it wrote to standard output."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every row is given."""

    data: Path
    """The labelled images: train/… and val/…."""
    num_train: int
    """Images in the training part."""
    num_val: int
    """Images in the other part."""
    backbone: str
    """The backbone, as `regraft fit` takes it."""
    threads: int
    """CPU threads that every side may use."""
    rounds: int
    """How often each side is measured."""
    quick: bool
    """Whether this is a try on a part of the data, too small to judge by."""
    epochs: int
    """Epochs of a loop that are measured before its time is multiplied."""
    work: Path
    """An empty folder for caches and runs; deleted at the end."""

    def fresh_cache(self, name: str, template: Path | None = None) -> Path:
        """An empty cache folder, or a copy of `template`."""
        path = self.work / "caches" / name
        shutil.rmtree(path, ignore_errors=True)
        if template is None:
            path.mkdir(parents=True)
        else:
            shutil.copytree(template, path)
        return path


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measured comparison."""

    what: str
    """What ours is."""
    against: str
    """What it is compared with; empty for a plain number."""
    values: tuple[float, ...]
    """One a round: theirs divided by ours, or a plain number."""
    unit: str = "x"
    """`x` for a ratio, else the unit of the plain number."""
    cpu: tuple[float, ...] = ()
    """The same ratio in CPU seconds, where it was measured."""
    bar: float | None = None
    """What PERFORMANCE section 9 asks for: at least for a ratio, at most for a plain number."""
    beyond: float | None = None
    """What it names beyond the bar."""
    detail: str = ""
    """Absolute numbers and how they were made."""

    def verdict(self, *, judged: bool) -> str:
        """Whether the bar is reached."""
        if self.bar is None:
            return ""
        if not judged:
            return "not judged"
        sign = 1.0 if self.unit == "x" else -1.0
        value = median(self.values)
        if self.beyond is not None and sign * value >= sign * self.beyond:
            return "exceeded"
        return "pass" if sign * value >= sign * self.bar else "MISSED"

    def row(self, *, judged: bool) -> str:
        """The line of the Markdown table."""
        cells = (
            self.what, self.against, spread(self.values, self.unit), spread(self.cpu, "x") if self.cpu else "",
            limit(self.bar, self.unit), limit(self.beyond, self.unit), self.verdict(judged=judged), self.detail,
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEADER = (
    "| measurement | compared with | result | CPU time | target | stretch target | verdict | details |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def ratio_line(
    what: str, against: str, theirs: Sequence[Cost], ours: Sequence[Cost], *, detail: str = "", **bars: float
) -> Line:
    """Theirs divided by ours, round by round; `bars` are `bar` and `beyond`."""
    pairs = list(zip(theirs, ours, strict=True))
    absolute = f"{seconds(ours)} against {seconds(theirs)}"
    return Line(
        what=what,
        against=against,
        values=tuple(their.wall / our.wall for their, our in pairs),
        cpu=tuple(their.cpu / our.cpu for their, our in pairs) if all(p.cpu and q.cpu for p, q in pairs) else (),
        detail=f"{absolute}. {detail}" if detail else f"{absolute}.",
        **bars,
    )


def scaled(cost: Cost, factor: float) -> Cost:
    """The cost of doing it `factor` times."""
    return replace(cost, wall=cost.wall * factor, cpu=cost.cpu * factor)


def spread(values: Sequence[float], unit: str) -> str:
    """`3.1x [2.9-3.4]`: median, smallest and largest."""
    sign = "x" if unit == "x" else f" {unit}"
    middle = f"{figure(median(values))}{sign}"
    return middle if len(values) == 1 else f"{middle} [{figure(min(values))}-{figure(max(values))}]"


def limit(value: float | None, unit: str) -> str:
    """A bar as text."""
    return "" if value is None else f"{value:g}{'x' if unit == 'x' else ' ' + unit}"


def seconds(costs: Sequence[Cost]) -> str:
    """The median wall time."""
    return f"{figure(median(cost.wall for cost in costs))} s"


def figure(value: float) -> str:
    """Three significant figures without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(command: Sequence[str], *, cache: Path, threads: int | None = None) -> Cost:
    """Run a command to its end and measure it.

    `threads` also limits what numpy and its kin start by themselves.

    Raises:
        RuntimeError: it failed; the end of what it said is in the message.
    """
    env = {**os.environ, "REGRAFT_CACHE": str(cache), "PYTHONPATH": str(SOURCE)}
    if threads:
        env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        printed, said = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-2000:]}")
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime, printed=printed)


def fitted(
    context: Context, name: str, *arguments: str, cache: Path, data: Path | None = None
) -> tuple[Cost, dict[str, Any]]:
    """`regraft fit` as a whole command: what it took, and its report."""
    out = context.work / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable, "-m", "regraft", "fit", str(data or context.data), "--backbone", context.backbone,
        "--out", str(out), "--quiet", "--set", f"threads={context.threads}", *arguments,
    ]  # fmt: skip
    cost = measured(command, cache=cache, threads=context.threads)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return cost, report


def epoch_seconds(report: dict[str, Any]) -> float:
    """Median seconds of an epoch; the first, in which kernels are chosen, is left out where there are more."""
    curve = [record["seconds"] for record in report["strategy"]["curve"]]
    return median(curve[1:] or curve)


def script(name: str, context: Context, *arguments: str, threads: int | None = None) -> dict[str, Any]:
    """Run one of the plain PyTorch loops beside this file; the JSON it prints."""
    chosen = threads or context.threads
    command = [sys.executable, str(HERE / name), str(context.data), "--threads", str(chosen), *arguments]
    found: dict[str, Any] = json.loads(measured(command, cache=context.work, threads=chosen).printed.splitlines()[-1])
    return found
