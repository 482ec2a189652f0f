"""A chain of transfers: pretrained network -> breast_histology -> a few X-rays, against going there directly.

    .venv/bin/python benchmarks/chain_table.py [--backbone googlenet] [--px 64] [--minutes 60] [--only-write]

The estimate is printed first. Resumable; rows are kept beside those of the table of transfer, which also has part of
what goes directly. Writes docs/results/chain.md and its plot.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from _kept import Kept
from _markdown import head, line, told
from _pooled import Table, shown
from _transfer_data import Found, complete, one, size, verdict
from _transfer_plot import differences
from _transfer_runs import Bench, Run, Settings, guess_s, run_all, run_stage, settings_of
from transfer_table import arguments, opened

from regraft.files import write_text

FIRST, FIRST_WAY = "breast_histology", "full"
"""Where the chain leads through, and how: all training examples, every stage trained."""
LAST, SIZES = "chest_xray_pneumonia", (10, 50)
WAYS = ("probe", "full")
"""How the last link is made."""
THROUGH, DIRECT = FIRST, ""
TITLE = "# A chain of transfers: through stained tissue to X-rays"
TOLD = """Network: {backbone} (weights {weights}), input {px} pixels. *Through*: fine-tuned on all training examples of
{first} ({first_way}, {steps} steps), then transferred to {last}, of which `n` examples a class are drawn. *Directly*:
the network itself, on the same draws, in the same way. *Scratch*: {architecture} from random weights on the same draws,
{scratch_steps} steps. Each of the {seeds} seeds decides the whole chain, its first link too. Other settings, and how
intervals are made: [transfer.md](transfer.md). Made by `python benchmarks/chain_table.py`."""


def plan(seeds: range) -> list[Run]:
    """All runs after the first link, in order of value: what is compared together side by side."""
    linked = [Run(data=LAST, n=n, way=way, seed=seed, start=start)
              for seed in seeds for n in SIZES for way in WAYS for start in (THROUGH, DIRECT)]  # fmt: skip
    return [*linked, *(Run(data=LAST, n=n, way="scratch", seed=seed) for seed in seeds for n in SIZES)]


def first_links(runs: Sequence[Run], at: Bench, *, ends_at: float, jobs: int) -> list[Run]:
    """Make the first links that missing runs need; the runs whose first link is there."""
    missing = sorted({run.seed for run in runs if run.start and not at.kept.where(**run.key)})
    each = guess_s(Run(data=FIRST, n=0, way=FIRST_WAY, seed=0), at)
    print(f"first links: {len(missing)}, about {len(missing) * each / jobs / 60:.0f} min", flush=True)

    def made(seed: int) -> bool:
        if time.time() + each > ends_at:
            return False
        print(f"{FIRST}, {FIRST_WAY}, seed {seed}: {run_stage(FIRST, seed, FIRST_WAY, at):.0f} s", flush=True)
        return True

    with ThreadPoolExecutor(jobs) as pool:
        absent = {seed for seed, there in zip(missing, pool.map(made, missing), strict=True) if not there}
    return [run for run in runs if not run.start or run.seed not in absent]


def page(found: Found, settings: Settings) -> str:
    """The page as Markdown."""
    seeds = len({seed for way in WAYS for n in SIZES for seed in found.cells.get((LAST, n, way, THROUGH), {})})
    text = told(TOLD, **{**vars(settings), "weights": settings.weights[:12]}, first=FIRST, first_way=FIRST_WAY,
                last=LAST, seeds=seeds)  # fmt: skip
    columns = ("n", "last link", "through", "directly", "scratch", "through − directly", "through − scratch",
               "directly − scratch")  # fmt: skip
    lines = [TITLE, "", text, "", *head(*columns)]
    for n in SIZES:
        for way in WAYS:
            compared = [found.against(LAST, n, *pair) for pair in pairs(way)]
            alone = [found.table(LAST, n, *cell) for cell in ((way, THROUGH), (way, DIRECT), ("scratch", ""))]
            lines.append(line(size(n), way, *(one(some, signed=False) for some in alone), *map(one, compared)))
    means = [[found.against(LAST, n, *pair) for n in SIZES] for way in WAYS for pair in pairs(way)]
    lines += ["", "Over both n, each weighing the same:", "", *head("last link", *columns[-3:])]
    for at, way in enumerate(WAYS):
        lines.append(line(way, *(_mean(some) for some in means[3 * at : 3 * at + 3])))
    lines += ["", *_verdicts(found), "", "![through less directly](chain.svg)"]
    return "\n".join(lines) + "\n"


def pairs(way: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """What is held against what: through and directly, either and scratch."""
    through, directly, scratch = (way, THROUGH), (way, DIRECT), ("scratch", "")
    return [(through, directly), (through, scratch), (directly, scratch)]


def _mean(tables: Sequence[Table | None]) -> str:
    some = [table for table in tables if table is not None]
    if len({len(table.values) for table in some}) > 1 or len(some) < len(tables):
        return "not all run"
    return shown(some, signed=True)


def _verdicts(found: Found) -> list[str]:
    words = {
        "ahead": "ahead of going directly",
        "behind": "behind going directly",
        "level": "level with going directly: the interval holds zero",
    }
    return [f"* {size(n)} a class, {way}: the chain is {words[said]}."
            for n in SIZES for way in WAYS
            if (said := verdict([found.against(LAST, n, *pairs(way)[0])]))]  # fmt: skip


def main() -> None:
    """Run what is missing, then write the page and the plot."""
    parser = arguments(__doc__, minutes=60.0)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    ends_at = time.time() + 60 * given.minutes
    if not given.only_write:
        at, runs = opened(given), plan(range(given.seeds))
        runs = first_links(runs, at, ends_at=ends_at, jobs=given.jobs)
        run_all(runs, at, ends_at=ends_at, jobs=given.jobs, what="chain")
    kept = Kept(given.rows)
    found, settings = Found(kept), settings_of(kept)
    tables = {way: [complete([found.against(LAST, n, *pairs(way)[0])]) for n in SIZES] for way in WAYS}
    plot = differences(tables, [f"{size(n)} a class" for n in SIZES], "accuracy, through less directly")
    write_text(given.out / "chain.svg", plot)
    write_text(given.out / "chain.md", page(found, settings))
    print(f"wrote {given.out / 'chain.md'}")


if __name__ == "__main__":
    main()
