"""Variants of a way against it, on five target tasks: what lies between the probe and full, views, regularisers.

    .venv/bin/python benchmarks/variants_table.py [ways regularisers views augmentation] [--minutes 120] [--only-write]

The estimate is printed first. Runs go page by page, seed by seed, until the minutes are spent; the rest is marked as
not run, and done when the command is given again. Rows are kept in benchmarks/rows/variants.jsonl, from which
`--only-write` makes the pages docs/results/NAME.md and their plots again.
"""

import time

from _kept import FOLDER, Kept
from _targets import DOMAINS
from _transfer_data import Found
from _transfer_runs import Run, run_all, settings_of
from _variants_page import Variants, page, plot
from transfer_table import arguments, opened

from regraft.files import write_text

PAGES = {
    "ways": Variants(
        title="Between the probe and full fine-tuning",
        asked="Ways to retrain the upper stages, above the cut that the backbone names, against the head alone "
        "(`probe`): all of them at once, held back to what was pretrained (`l2_sp`) or not, stage after stage, and by "
        "low-rank updates.",
        base="probe",
        ways=("partial", "partial, l2_sp", "gradual", "lora"),
        sizes=(10, 0),
    ),
    "regularisers": Variants(
        title="Regularisers of full fine-tuning on few examples",
        asked="Whether holding training back to what was pretrained helps: every regulariser at its published weight "
        "against `full` without. Nothing is tuned; [scarce.md](scarce.md) tunes weights, with a weaker network.",
        base="full",
        ways=("full, co_tuning", "full, delta", "full, bss", "full, l2_sp"),
        sizes=(10,),
    ),
    "views": Variants(
        title="Accuracy against the number of stored views",
        asked="Partial fine-tuning on states of 1, 2, 4 (`partial`, the default) or 8 views that are stored once, "
        "against new views every epoch, for which the frozen part runs anew each time.",
        base="partial, new views",
        ways=("partial, views 1", "partial, views 2", "partial", "partial, views 8"),
        sizes=(0,),
    ),
    "augmentation": Variants(
        title="Stronger views and mixed states",
        asked="Partial fine-tuning on four stored views with the default augmentation, against stronger views, mixup "
        "(0.2) of the states at the cut, and both.",
        base="partial",
        ways=("partial, strong", "partial, mixup", "partial, strong, mixup"),
        sizes=(0,),
    ),
}  # fmt: skip
"""By name, in order of value."""


def plan(of: Variants, seeds: range) -> list[Run]:
    """All runs of a page, in order of value: what is compared together side by side."""
    return [Run(data=data, n=n, way=way, seed=seed)
            for seed in seeds for n in of.sizes for data in DOMAINS for way in (of.base, *of.ways)]  # fmt: skip


def main() -> None:
    """Run what is missing, then write the pages."""
    parser = arguments(__doc__, minutes=120.0)
    parser.set_defaults(rows=FOLDER / "variants.jsonl")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"some of: {', '.join(PAGES)}; all without")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    if unknown := sorted(set(given.pages) - set(PAGES)):
        parser.error(f"no such page: {', '.join(unknown)}; there are {', '.join(PAGES)}")
    chosen = given.pages or list(PAGES)
    ends_at = time.time() + 60 * given.minutes
    if not given.only_write:
        at = opened(given)
        for name in chosen:
            run_all(plan(PAGES[name], range(given.seeds)), at, ends_at=ends_at, jobs=given.jobs, what=name)
    kept = Kept(given.rows)
    found, settings = Found(kept), settings_of(kept)
    for name in chosen:
        write_text(given.out / f"variants_{name}.svg", plot(PAGES[name], found))
        write_text(given.out / f"{name}.md", page(name, PAGES[name], found, settings))
        print(f"wrote {given.out / name}.md")


if __name__ == "__main__":
    main()
