"""How much worse than the best recipe is the one that `regraft advise` picks in a tenth of the time.

    .venv/bin/python benchmarks/regret.py [--hours 4] [--only-estimate] [--only-write]

In every setting (a data set with a share of its training examples) `sweep` trains every recipe, and `regraft advise`,
from an empty store, has a tenth of the CPU seconds that one run of each took, with what a process needs to begin (its
clock is CPU time, since others may use the machine).
Beside it: naive rules, and random search with the same budget. Settings go in order of value; nothing is begun after
the hours. Rows are kept in benchmarks/rows/regret.jsonl, runs in runs/regret, and the same command goes on from them.
`_regret.py` says how regret is counted. Writes docs/results/regret.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _kept import FOLDER, Kept, packed
from _predictions import right_in
from _regret_page import page, read_setting
from _sets import ROOT
from _targets import TARGETS

from regraft.activations.openvino import processor
from regraft.files import write_text
from regraft.recipe import Recipe, parse_setting, with_settings
from regraft.reports.advice import read_advice
from regraft.workbench.sweep import SweepDone, sweep

SETTINGS = tuple((name, share) for share in (0.2, 1.0)
                 for name in ("hymenoptera", "digits", "chest_xray_pneumonia", "plantvillage_tomato"))  # fmt: skip
BACKBONES = ("googlenet", "mobilenet_v3_small", "efficientnet_lite0@package", "googlenet@random")
STRATEGIES = ("probe", "partial", "full", "lp_ft")
SHARED = {"options.patience": 0, "threads": 1}
"""No early stopping, so that costs can be predicted."""
GUESS_S = {"probe": 0.02, "partial": 0.4, "full": 1.5, "lp_ft": 1.5}
"""CPU seconds of a run by training example, before one was timed: for the estimate alone."""
CLOCKED = "import time, sys; time.monotonic = time.process_time; from regraft.doors.cli import main; sys.exit(main())"
"""Runs the command line with a clock that counts CPU seconds."""
STARTED = "import onnxruntime, torch, regraft.reports.page, regraft.workbench.fit"
"""What a fit imports, which the runs of a sweep share."""
GUESSED_EXAMPLES = {"hymenoptera": 244, "digits": 1297, "chest_xray_pneumonia": 600, "plantvillage_tomato": 420}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What all rows share."""

    backbones: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: int
    px: int
    set: tuple[str, ...]

    def settings(self, name: str, share: float) -> dict[str, Any]:
        """Fields of the recipe in one setting."""
        return {**SHARED, "input_px": self.px, "source.train_share": share}


def main() -> None:
    """Run what is missing while there is time, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=4.0, help="nothing is begun after these")
    parser.add_argument("--settings", nargs="+", default=[f"{name}:{share:g}" for name, share in SETTINGS],
                        metavar="SET:SHARE", help="data sets, with a share of their training examples")  # fmt: skip
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--px", type=int, default=96, help="side of the input")
    parser.add_argument("--set", nargs="*", default=(), metavar="PATH=VALUE", help="further fields of the recipe")
    parser.add_argument("--rows", type=Path, default=FOLDER / "regret.jsonl")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "regret")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "regret.md")
    parser.add_argument("--only-estimate", action="store_true")
    parser.add_argument("--only-write", action="store_true")
    given = parser.parse_args()
    asked = Asked(backbones=tuple(given.backbones), strategies=tuple(given.strategies), seeds=given.seeds, px=given.px,
                  set=tuple(given.set))  # fmt: skip
    settings = [(name, float(share)) for name, _, share in (one.partition(":") for one in given.settings)]
    kept, ends_at = Kept(given.rows), time.time() + 3600 * given.hours
    print(estimate(kept, settings, asked))
    if given.only_estimate:
        return
    if not given.only_write:
        kept.settle({**vars(asked), "backbones": list(asked.backbones), "strategies": list(asked.strategies),
                     "set": list(asked.set), "machine": processor()[0]})  # fmt: skip
        for name, share in settings:
            measure(kept, name, share, asked, given.runs, ends_at)
    write_text(given.page, page(kept, SETTINGS))
    print(f"wrote {given.page}")


def estimate(kept: Kept, settings: Sequence[tuple[str, float]], asked: Asked) -> str:
    """CPU hours of what is missing: by runs of the recipe in any setting where there are some, else guessed."""
    total = 0.0
    for name, share in settings:
        examples = GUESSED_EXAMPLES.get(name, 1000) * share
        if not kept.where(kind="setting", name=name, share=share):
            each = [_guess(kept, f"{one} {strategy}", examples) for one in asked.backbones
                    for strategy in asked.strategies]  # fmt: skip
            total += sum(each) * (asked.seeds + 0.1 * asked.seeds)
    return f"Estimate: {total / 3600:.1f} CPU hours for what is missing of {len(settings)} settings, advice included."


def _guess(kept: Kept, recipe: str, examples: float) -> float:
    timed = [row["seconds"] / row["examples"] for row in kept.where(kind="run", recipe=recipe)]
    return examples * (float(np.median(timed)) if timed else GUESS_S.get(recipe.split()[-1], 1.0))


def measure(kept: Kept, name: str, share: float, asked: Asked, runs: Path, ends_at: float) -> None:
    """Train every recipe of a setting, then ask for advice with every seed; rows are kept when all recipes ran."""
    if time.time() > ends_at:
        return
    data, where = TARGETS[name].open(), {"name": name, "share": share}
    folder = runs / f"{name}-{share:g}"
    if not kept.where(kind="setting", **where):
        recipe = with_settings(_recipe(data, name, asked), asked.settings(name, share))
        done = None
        for event in sweep(recipe, folder / "sweep", backbones=asked.backbones, strategies=asked.strategies,
                           seeds=asked.seeds, sizes=(share,), max_seconds=max(0.0, ends_at - time.time()),
                           resume=(folder / "sweep").is_dir()):  # fmt: skip
            done = event if isinstance(event, SweepDone) else done
            if text := getattr(event, "text", ""):
                print(f"{name} {share:g}: {text}", flush=True)
        assert done is not None
        if done.report.not_run or done.report.failed:
            print(f"{name} {share:g}: of the runs {len(done.report.not_run)} had no time and "
                  f"{len(done.report.failed)} failed.")  # fmt: skip
            return
        kept.add(*_rows(done, where))
    found = read_setting(kept, name, share)
    for seed in range(asked.seeds):
        if not kept.where(kind="advice", seed=seed, **where) and time.time() < ends_at:
            kept.add(
                {
                    "kind": "advice",
                    "seed": seed,
                    **where,
                    **advised(str(data), name, share, seed, asked, found.budget_s, folder / f"advice-{seed}"),
                }
            )


def _recipe(data: Path, name: str, asked: Asked) -> Recipe:
    return with_settings(
        Recipe(data=str(data)), dict(parse_setting(one) for one in (*TARGETS[name].settings, *asked.set))
    )


def _rows(done: SweepDone, where: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for every run, and one for the setting, last: it says that all ran."""
    ids: list[str] = []
    units: list[str] = []
    begin_s = spent_by("-c", STARTED)
    for one in done.cells:
        names, right, groups = right_in(one.folder)
        assert ids in ([], names), "all runs are tested on the same examples"
        ids, units = names, groups
        spent = one.report.spent
        filled = next(each.seconds for each in done.report.candidates if each.name == one.candidate)
        rest = sum(seconds for phase, seconds in spent.items() if phase not in ("activations", "training"))
        train = sum(part.examples for split, part in one.report.data.splits.items() if split != "test")
        yield {"kind": "run", **where, "recipe": one.candidate, "seed": one.seed, "right": packed(right),
               "seconds": round(begin_s + filled + rest, 2), "examples": train}  # fmt: skip
    place = {unit: at for at, unit in enumerate(dict.fromkeys(units))}
    yield {"kind": "setting", **where, "units": [place[unit] for unit in units]}


def advised(data: str, name: str, share: float, seed: int, asked: Asked, budget_s: float, out: Path) -> dict[str, Any]:
    """What `regraft advise` says in that time, from an empty store, and what CPU time it took."""
    shutil.rmtree(out, ignore_errors=True)
    fields = [f"{path}={value}" for path, value in asked.settings(name, share).items()]
    options = [
        part for one in (*TARGETS[name].settings, *asked.set, *fields, "split_seed=0") for part in ("--set", one)
    ]
    command = ["advise", data, "--backbones", ",".join(asked.backbones), "--strategies", ",".join(asked.strategies),
               "--seed", str(seed), "--budget", f"{budget_s:.0f}s", "--out", str(out), "-q"]  # fmt: skip
    with TemporaryDirectory() as cache:
        cpu_s = spent_by("-c", CLOCKED, *command, *options, REGRAFT_CACHE=cache)
    report = read_advice(out)
    return {
        "budget_s": round(budget_s, 1),
        "cpu_s": round(cpu_s, 1),
        "choice": report.advised.name,
        "predicted": {one.name: [one.predicted.low, one.predicted.high] for one in report.candidates
                      if one.predicted and one.predicted.low is not None},
        "seconds": {one.name: round(one.cost.seconds, 1) for one in report.candidates if one.cost},
    }  # fmt: skip


def spent_by(*arguments: str, **environment: str) -> float:
    """CPU seconds of a Python process on one thread."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | environment | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
