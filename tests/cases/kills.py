"""Kills at random moments, and what comes of going on: `python tests/cases/kills.py [COUNT] [SEED]`.

A command runs in a forked process, which is killed (SIGKILL) either after a random time or before a random one of its
writes to the disk. Then it is started again as a user would (`--resume`, or the same command), and what it leaves is
compared with what the unbroken command left: report, weights, predictions, byte by byte, but for times and the clock.
"""

import collections
import contextlib
import difflib
import hashlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"
sys.path[:0] = [str(Path(__file__).parents[2] / "src")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

STRATEGIES = ("probe", "partial", "full", "gradual", "lora", "lp_ft", "scratch", "distill")
LOADED = ("torch", "regraft.workbench.fit", "regraft.workbench.evaluate", "regraft.workbench.predict",
          "regraft.activations.export", "regraft.reports.page", "regraft.backbones.opening", "regraft.bundles.bundle",
          "peft", "matplotlib.figure", "PIL.PngImagePlugin")  # fmt: skip
"""What the parent imports, so that a child is ready at once."""
VOLATILE = ("created", "seconds", "phases", "peak_memory_bytes", "path")
"""Fields of a report that say when and where it was made."""


@dataclass(frozen=True)
class Job:
    """One command, killed and started again."""

    name: str
    command: tuple[str, ...]
    """Arguments; OUT stands for the folder or file that is written."""
    resumes: bool = True
    """Whether it is gone on with by `--resume`; else it is the same command again."""
    cold: bool = False
    """Whether each run has an empty cache, so that it writes the store."""
    only: str = ""
    """Writes below a path with this part alone are counted for the kill: `/model/`, say."""


def pictures(root: Path, *classes: str, train: int = 12, test: int = 8) -> None:
    """`root/{train,test}/CLASS/NN.png`, small and noisy; without `test` `root/CLASS/NN.png`."""
    for kind, name in enumerate(classes):
        noise = np.random.default_rng(sum(name.encode()))
        for split, count in (("train", train), ("test", test)):
            folder = root / split / name if test else root / name
            folder.mkdir(parents=True, exist_ok=True)
            for at in range(count):
                pixels = noise.normal(60 + 50 * kind, 50, (24, 24, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{at:02}.png")


def jobs() -> list[Job]:
    """Every strategy, the store, the evaluation, predictions, the bundle."""
    tiny = ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--set", "threads=1", "--out", "OUT")
    short = ("--set", "options.epochs=4", "--set", "options.min_steps=4", "--set", "options.batch=8")
    taught = ("--set", "options.teacher=made", "--set", "options.teacher_side=32")
    found = [
        Job(f"fit {one}", ("fit", "whole" if one == "partial" else "divided", "--strategy", one, *tiny,
                           *(short if one != "probe" else ()), *(taught if one == "distill" else ())))
        for one in STRATEGIES
    ]  # fmt: skip
    return [
        *found,
        Job("extend", ("extend", "made", "--data", "more", "--max-loss", "0.99", "--out", "OUT")),
        Job("store", ("fit", "divided", *tiny), cold=True, only="/store/"),
        Job("bundle", ("fit", "divided", "--strategy", "full", *tiny, *short), only="/model/"),
        Job("evaluate", ("evaluate", "made", "--data", "divided", "--out", "OUT"), resumes=False),
        Job("predict", ("predict", "made", "divided", "--out", "OUT"), resumes=False),
    ]


class Runs:
    """Commands run in forked children, in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        os.chdir(root)
        os.environ["REGRAFT_CACHE"] = str(root / "cache")
        for name in LOADED:
            with contextlib.suppress(ImportError):
                __import__(name)
        from regraft.strategies import _checkpoint
        from regraft.workbench import _evaluation

        _checkpoint.INTERVAL = _checkpoint.SHARE = 0.0  # after every epoch
        _evaluation.REPEAT_SECONDS = math.inf  # a cross-validation on a busy machine would be repeated less often

    def run(
        self, job: Job, out: Path, *, resume: bool = False, after: float | None = None, write: int = 0, cache: Path
    ) -> tuple[int, float, int]:
        """Run to the end, to `after` seconds or to the write number `write`; the exit code (negative: killed), the
        seconds, and how many writes there were, as far as the child could say."""
        command = [str(out) if one == "OUT" else one for one in job.command]
        command += ["--resume"] if resume and job.resumes else []
        began, tally = time.monotonic(), self.root / "writes"
        tally.write_text("0")
        if not (child := os.fork()):
            try:
                self._child(command, job.only, write, tally, cache)
            finally:
                os._exit(99)
        if after is not None:
            while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() - began < after:
                time.sleep(0.002)
            if ended[0] == 0:
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)
        else:
            ended = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(ended[1]), time.monotonic() - began, int(tally.read_text() or 0)

    def _child(self, command: list[str], only: str, write: int, tally: Path, cache: Path) -> None:
        os.environ["REGRAFT_CACHE"] = str(cache)
        log = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        seen = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            writes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate") or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if writes and only in str(arguments[0]) and str(arguments[0]) != str(tally):
                seen += 1
                if seen == write:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        from regraft.doors.cli import main

        sys.argv = ["regraft", *command]
        code = 99
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            tally.write_text(str(seen))
            os._exit(code)


def left(out: Path) -> dict[str, str]:
    """What a command left, by file: digests, JSON without times; what says when it was made counts as there."""
    if out.is_file():
        return {"": hashlib.sha256(out.read_bytes()).hexdigest()}
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_dir():
            continue
        name, data = str(path.relative_to(out)), path.read_bytes()
        told = path.suffix in (".html", ".md") or name == "events.jsonl"
        found[name] = "there" if told else hashlib.sha256(data).hexdigest()
        if path.suffix == ".json":
            found[name] = json.dumps(timeless(json.loads(data)), sort_keys=True, indent=1)
    return found


def unlike(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """The first lines of JSON files that differ."""
    files = [name for name in found if name.endswith(".json") and found[name] != wanted.get(name)]
    lines = [difflib.unified_diff(wanted.get(one, "").splitlines(), found[one].splitlines(), n=1) for one in files]
    return "\n".join(itertools.islice(itertools.chain(*lines), 20))


def timeless(value: Any) -> Any:
    """JSON without what says when it was made, or which rows the store had already."""
    if isinstance(value, Mapping):
        dropped = (*VOLATILE, "digest") if "golden" in value else VOLATILE
        kept = {name: timeless(one) for name, one in value.items() if name not in dropped}
        return {name: one for name, one in kept.items() if name not in ("computed", "reused", "bytes_written")}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def remove(*paths: Path) -> None:
    """Delete files and folders."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def phase(job: Job, out: Path) -> str:
    """How far a killed command had come."""
    if job.command[0] in ("predict", "evaluate"):
        partial = list(out.parent.glob(f".{out.name}*.part"))
        inside = sum(1 for one in partial[0].iterdir()) if partial and partial[0].is_dir() else 0
        return "done" if out.exists() else "writing" if inside else "predicting" if partial else "start"
    if (out / "report.json").exists():
        return "done"
    if (out / "report.md").exists() or (out / "predictions.csv").exists():
        return "pages"
    if (out / "model").exists():
        return "bundle"
    if not (out / "events.jsonl").exists():
        return "start"
    events = [line for line in (out / "events.jsonl").read_text().splitlines() if '"phase"' in line]
    last = json.loads(events[-1])["phase"] if events else "start"
    return (
        "checkpointed training" if last == "training" and list((out / "checkpoints").rglob("*.safetensors")) else last
    )


def kills(count: int, seed: int, say: Callable[[str], None] = print) -> list[str]:
    """Kill `count` times, in turn over the jobs; what went otherwise than it should."""
    chance, failures = random.Random(seed), []
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    moments: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pictures(root / "divided", "cat", "dog")
        pictures(root / "whole", "cat", "dog", test=0)
        pictures(root / "more", "fox")
        runs = Runs(root)
        assert runs.run(jobs()[0], root / "made", cache=root / "cache")[0] == 0, (root / "said").read_text()
        whole = dict[str, tuple[dict[str, str], float, int]]()
        for job in jobs():
            for _ in range(2):  # the second finds the cache warm, as those that are killed do
                cache = root / "cold" if job.cold else root / "cache"
                remove(root / "cold", root / "out")
                code, seconds, writes = runs.run(job, root / "out", cache=cache)
                assert code == 0, (job, (root / "said").read_text())
            whole[job.name] = left(root / "out"), seconds, writes
            say(f"{job.name}: unbroken {seconds:.1f} s, {writes} writes")
        remove(root / "out")
        done = 0
        while done < count:
            job = jobs()[done % len(jobs())]
            wanted, seconds, writes = whole[job.name]
            out, cache = root / f"out{done}", root / "cold" if job.cold else root / "cache"
            shutil.rmtree(root / "cold", ignore_errors=True)
            by_time = not job.only and chance.random() < 0.5
            moment = {"after": chance.uniform(0, seconds)} if by_time else {"write": chance.randint(1, max(1, writes))}
            if runs.run(job, out, cache=cache, **moment)[0] >= 0:
                outcomes[job.name]["(ended before the kill)"] += 1
                remove(out)
                continue
            done += 1
            where = phase(job, out)
            code = 0
            if not (out / "report.json").exists() and not out.is_file():
                code, *_ = runs.run(job, out, resume=True, cache=cache)
            found = left(out) if out.exists() else {}
            stray = [str(one) for one in (*root.glob(".*.part"), *out.rglob(".*.part"))]  # a cache may keep some
            if where == "done":
                wanted, found = ({k: v for k, v in one.items() if "checkpoint" not in k} for one in (wanted, found))
                found = {name: one for name, one in found.items() if name not in ("begun.json", ".lock")}
            kind = f"exit {code}" if code else "same" if found == wanted else "different"
            if kind == "same" and stray:
                kind = "same, something left over"
            outcomes[job.name][kind] += 1
            moments[where][kind] += 1
            if kind != "same":
                names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
                said = (root / "said").read_text()[-400:] if code else unlike(found, wanted)
                failures.append(f"{job.name}, killed in {where} ({moment}): {kind} {names} {stray} {said}")
                say(failures[-1])
            remove(out, *map(Path, stray))
    for title, table in (("command", outcomes), ("killed in", moments)):
        say(f"\n{title}")
        for name, counts in table.items():
            say(f"  {name:24} {', '.join(f'{number} {kind}' for kind, number in sorted(counts.items()))}")
    say(f"\n{count} kills, {len(failures)} of them with another outcome than the unbroken command")
    return failures


if __name__ == "__main__":
    arguments = [int(one) for one in sys.argv[1:]] + [200, 0][len(sys.argv) - 1 :]
    sys.exit(bool(kills(*arguments, say=lambda text: print(text, flush=True))))  # noqa: T201
