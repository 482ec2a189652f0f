"""Our times against PyTorch's own transfer-learning tutorial and other plain loops, as ratios measured in one run.

    make bench                                          everything, on the hymenoptera images beside the checkout
    python benchmarks/bench.py --quick                  a try in minutes, on a part of them; nothing is judged
    python benchmarks/bench.py --rows prediction help   some rows only
    python benchmarks/bench.py --data FOLDER            other images: train/CLASS/… and val/CLASS/…

Both sides are interleaved (A B A B); a ratio is computed in every round, and the median is given with the minimum and
the maximum. Every row is kept under runs/bench, so that a run goes on where it was cut off: rows that are there are
not measured again unless `--rows` names them. Once all are there the page goes to docs/results/bench.md; `--quick`
writes to runs/bench.md and keeps nothing.
"""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from _measure import HEADER, Context, Line
from _pictures import part_of, pictures
from _sets import ROOT, SETS, SHARED

ROWS = ("extraction", "partial", "job", "full", "prediction", "help", "memory")
PAGE, TRY = ROOT / "docs" / "results" / "bench.md", ROOT / "runs" / "bench.md"
KEPT = ROOT / "runs" / "bench"
BACKBONE = "googlenet:torchvision@random"
QUICK = {"train": 24, "val": 12}
"""Images of each class of a part that a quick try uses."""
CALIBRATE = """
import sys, time, torch
from regraft.nn.torchvision import torchvision_models
torch.set_num_threads(int(sys.argv[1]))
model = torchvision_models().googlenet(weights=None, aux_logits=False, init_weights=False).eval()
with torch.inference_mode():
    model(torch.zeros(4, 3, 224, 224))
    began = time.perf_counter()
    model(torch.zeros(8, 3, 224, 224))
print((time.perf_counter() - began) / 8)
"""


def main() -> int:
    """Estimate, measure, write the page; returns the exit code."""
    given = arguments()
    data = find_data(given.data)
    if data is None:
        return 0
    (ROOT / "runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "runs") as folder:
        context = context_of(given, data, Path(folder))
        sections: dict[str, str] = {} if context.quick else kept()
        names = given.rows or [name for name in ROWS if name not in sections]
        rows = {name: import_module(f"rows.{name}") for name in names}
        if done := [name for name in ROWS if name in sections and name not in rows]:
            print(f"measured before: {', '.join(done)}; --rows measures again what it names")
        tell_plan(rows, context)
        missed = False
        for name, row in rows.items():
            began, load = time.monotonic(), os.getloadavg()[0]
            print(f"\n## {row.TITLE}", flush=True)
            lines = row.measure(context)
            for line in lines:
                print(told(line, context), flush=True)
                missed |= line.verdict(judged=not context.quick) == "MISSED"
            today = datetime.datetime.now(datetime.UTC)
            took = f"{today:%Y-%m-%d}: {time.monotonic() - began:.0f} s of measurement; load {load:.1f} at the start."
            print(f"{name}: {took}", flush=True)
            sections[name] = section(row, lines, took, context)
            if not context.quick:
                keep(name, sections[name])
            shutil.rmtree(context.work / "caches", ignore_errors=True)
            shutil.rmtree(context.work / "runs", ignore_errors=True)
    path = given.out or (PAGE if set(sections) == set(ROWS) and not context.quick else TRY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        heading(context, given) + "\n".join(sections[name] for name in ROWS if name in sections), encoding="utf-8"
    )
    print(f"\nwrote {path}" + ("; a target was MISSED" if missed else ""))
    return 0


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="images as train/CLASS/… and val/CLASS/…")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, help="how often each side is measured (3; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="a part of the images, one round, nothing judged")
    parser.add_argument("--epochs", type=int, default=1, help="tutorial epochs measured, then multiplied; 25: all")
    parser.add_argument("--threads", type=int, help="CPU threads of every side (all that this process may use)")
    parser.add_argument("--backbone", default=BACKBONE, help=f"as for regraft fit ({BACKBONE})")
    parser.add_argument("--out", type=Path, help="page to write")
    return parser.parse_args()


def kept() -> dict[str, str]:
    """Rows measured before, as parts of the page."""
    return {name: path.read_text(encoding="utf-8") for name in ROWS if (path := KEPT / f"{name}.md").is_file()}


def keep(name: str, text: str) -> None:
    """Keep a row for the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.md").write_text(text, encoding="utf-8")


def find_data(given: Path | None) -> Path | None:
    """The images, or None with the reason told."""
    if given is None and not (SHARED / "data" / "hymenoptera.tar.gz").is_file() and not _unpacked().is_dir():
        print(f"skipped: no hymenoptera.tar.gz in {SHARED / 'data'}; give other images with --data FOLDER.")
        return None
    path = (given or SETS["hymenoptera"].open()).resolve()
    if not all((path / part).is_dir() for part in ("train", "val")):
        print(f"skipped: {path} has no folders train and val.")
        return None
    return path


def _unpacked() -> Path:
    return ROOT / "runs" / "data" / "hymenoptera"


def context_of(given: argparse.Namespace, data: Path, work: Path) -> Context:
    """What the rows are given; in a quick try a part of the images."""
    if given.quick:
        data = part_of(data, work / "part", per_class=QUICK)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Context(
        data=data,
        num_train=len(pictures(data / "train")),
        num_val=len(pictures(data / "val")),
        backbone=given.backbone,
        threads=given.threads or cores,
        rounds=given.rounds or (1 if given.quick else 3),
        quick=given.quick,
        epochs=given.epochs,
        work=work,
    )


def tell_plan(rows: dict[str, ModuleType], context: Context) -> None:
    """What will be done and about how long it takes, from the speed of this machine now."""
    command = [sys.executable, "-c", CALIBRATE, str(context.threads)]
    image_s = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(
        f"{context.num_train} + {context.num_val} images, {context.rounds} rounds, {context.threads} threads, "
        f"load {os.getloadavg()[0]:.1f}; torchvision's eager network takes {1000 * image_s:.0f} ms an image."
    )
    guesses = {name: row.estimate(context, image_s) for name, row in rows.items()}
    parts = ", ".join(f"{name} {guess / 60:.1f}" for name, guess in guesses.items())
    print(f"Estimate: {sum(guesses.values()) / 60:.0f} minutes ({parts}).", flush=True)


def told(line: Line, context: Context) -> str:
    """A line for the terminal."""
    cells = line.row(judged=not context.quick).strip("| ").split(" | ")
    what, against, value, cpu, bar, _, verdict, detail = cells
    return (
        f"  {what}" + (f"\n    against {against}" if against else "") + f"\n    {value}"
        + (f" (CPU {cpu})" if cpu else "") + (f", target {bar}: {verdict}" if bar else "") + f". {detail}"
    )  # fmt: skip


def section(row: ModuleType, lines: list[Line], took: str, context: Context) -> str:
    """A row's part of the page."""
    table = "\n".join(line.row(judged=not context.quick) for line in lines)
    return f"## {row.TITLE}\n\n{HEADER}\n{table}\n\n{took}\n"


def heading(context: Context, given: argparse.Namespace) -> str:
    """The top of the page: machine, versions, command, and how the numbers were made."""
    from regraft.activations.openvino import processor

    packages = ("torch", "torchvision", "onnxruntime", "numpy", "pillow", "regraft")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    shown = [f"--data {given.data.name}"] if given.data else []
    shown += ["--quick"] if given.quick else []
    shown += [f"--rounds {context.rounds}", f"--epochs {context.epochs}", f"--threads {context.threads}"]
    shown += [f"--backbone {given.backbone}"]
    tried = " QUICK RUN on some of the images: no targets apply." if context.quick else ""
    return f"""# Benchmarks{tried}

Generated by `python benchmarks/bench.py {" ".join(shown)}`.
{context.num_train} + {context.num_val} images, 224 pixels, GoogLeNet; weights `{context.backbone}`{
        " (random: they take as long as trained ones, and say nothing about accuracy)"
        if "@random" in context.backbone
        else ""
    }.

Machine: {processor()[0]}, {os.cpu_count()} cores, {context.threads} used; {platform.platform()}.
Python {platform.python_version()}, {versions}.

Ratios are the other time divided by ours, computed per round with both sides interleaved (A B A B): median
[minimum-maximum] of {
        context.rounds
    } rounds. Rows are measured one after the other and kept; each has its date. Wall-clock time; CPU
time beside it if both sides are whole processes or one thread pool. Targets are those of the design's performance page.

"""


if __name__ == "__main__":
    sys.exit(main())
