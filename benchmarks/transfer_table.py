"""Whether the pretrained network transfers: five target tasks, five strategies, five sample sizes, three seeds.

    .venv/bin/python benchmarks/transfer_table.py [--backbone googlenet] [--px 64] [--minutes 120] [--only-write]

Prints an estimate first. Runs go in order of value until the minutes are spent; the rest is marked as not run, and
runs when the command is given again. Rows are kept in benchmarks/rows/transfer.jsonl, from which `--only-write` makes
docs/results/transfer.md and its two plots again.
"""

import argparse
import tempfile
import time
from pathlib import Path

from _kept import FOLDER, Kept
from _measure import measured
from _sets import ROOT, SHARED
from _targets import DOMAINS
from _transfer_answers import MAIN_SIZES
from _transfer_data import Found
from _transfer_page import SIZES, WAYS, page
from _transfer_plot import curves, gains
from _transfer_runs import Bench, Run, bench, command, run_all, settings_of

from regraft.files import write_text

RESULTS = ROOT / "docs" / "results"


def plan(seeds: range) -> list[Run]:
    """All runs, in order of value."""

    def runs(way: str, sizes: tuple[int, ...]) -> list[Run]:
        return [Run(data=data, n=n, way=way, seed=seed) for seed in seeds for n in sizes for data in DOMAINS]

    others = tuple(n for n in SIZES if n not in MAIN_SIZES)
    whole = [run for way in ("scratch", "partial", "full", "lp_ft") for run in runs(way, MAIN_SIZES)]
    return [*runs("probe", SIZES), *whole, *runs("partial", others)]


def measure_costs(at: Bench, *, ends_at: float) -> None:
    """The probe with an empty cache, and again with what that left."""
    for data in DOMAINS:
        missing = not at.kept.where(cost=data)
        if missing and time.time() < ends_at:
            with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
                run, cache = Run(data=data, n=0, way="probe", seed=0), Path(folder) / "cache"
                costs = [measured(command(run, at, at.spec, Path(folder) / name), cache=cache, threads=1)
                         for name in ("empty", "cached")]  # fmt: skip
            at.kept.add(*({"cost": data, "cached": cached, "wall": round(cost.wall, 2), "cpu": round(cost.cpu, 2)}
                          for cached, cost in zip((False, True), costs, strict=True)))  # fmt: skip


def arguments(description: str | None, *, minutes: float) -> argparse.ArgumentParser:
    """What the tables of transfer can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="googlenet", help="as `regraft fit` takes it; LABEL= in front names it")
    parser.add_argument("--px", type=int, default=64, help="side of the input, in pixels")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of a tuned model")
    parser.add_argument("--scratch-steps", type=int, default=300, help="the same from scratch")
    parser.add_argument("--minutes", type=float, default=minutes, help="the budget")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each with one thread")
    parser.add_argument("--rows", type=Path, default=FOLDER / "transfer.jsonl", help="file of what was measured")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the page and its plots")
    parser.add_argument("--only-write", action="store_true", help="make the page of the rows that are there")
    return parser


def opened(given: argparse.Namespace) -> Bench:
    """The network and the rows that are asked for."""
    from probe_table import named

    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not there: this table needs the shared data sets.")
    label, spec = named(given.backbone)
    return bench(spec, label, px=given.px, steps=given.steps, scratch_steps=given.scratch_steps, rows=given.rows)


def main() -> None:
    """Run what is missing, then write the page and the plots."""
    parser = arguments(__doc__, minutes=120.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="run these alone")
    given = parser.parse_args()
    ends_at = time.time() + 60 * given.minutes
    if not given.only_write:
        at = opened(given)
        measure_costs(at, ends_at=ends_at)
        runs = [run for run in plan(range(given.seeds)) if run.way in given.ways]
        run_all(runs, at, ends_at=ends_at, jobs=given.jobs, what="transfer")
    kept = Kept(given.rows)
    found, settings = Found(kept), settings_of(kept)
    write_text(given.out / "transfer_curves.svg", curves(found))
    write_text(given.out / "transfer_gain.svg", gains(found))
    write_text(given.out / "transfer.md", page(found, settings))
    print(f"wrote {given.out / 'transfer.md'}")


if __name__ == "__main__":
    main()
