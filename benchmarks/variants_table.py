"""Variants of strategies on five target tasks: between the probe and full fine-tuning, views, regularisers.

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
        asked="Strategies that train the stages above the backbone's default cut, compared with training the head "
        "alone (`probe`): all of these stages at once, with or without a penalty on the distance from the pretrained "
        "weights (`l2_sp`), stage by stage (`gradual`), and with low-rank updates (`lora`).",
        base="probe",
        ways=("partial", "partial, l2_sp", "gradual", "lora"),
        sizes=(10, 0),
    ),
    "regularisers": Variants(
        title="Regularisers for full fine-tuning with few examples",
        asked="Does it help to keep training close to the pretrained network? Every regulariser at its published "
        "weight, compared with `full` without one. Nothing is tuned; [scarce.md](scarce.md) tunes the weights, "
        "with a weaker network.",
        base="full",
        ways=("full, co_tuning", "full, delta", "full, bss", "full, l2_sp"),
        sizes=(10,),
    ),
    "views": Variants(
        title="Accuracy by number of stored views",
        asked="Partial fine-tuning on the activations of 1, 2, 4 (`partial`, the default) or 8 augmented views "
        "that are stored once, compared with new views every epoch, for which the frozen stages run again "
        "each time.",
        base="partial, new views",
        ways=("partial, views 1", "partial, views 2", "partial", "partial, views 8"),
        sizes=(0,),
    ),
    "augmentation": Variants(
        title="Stronger augmentation and mixup at the cut",
        asked="Partial fine-tuning on four stored views with the default augmentation, compared with stronger "
        "augmentation, mixup (0.2) of the activations at the cut, and both.",
        base="partial",
        ways=("partial, strong", "partial, mixup", "partial, strong, mixup"),
        sizes=(0,),
    ),
}  # fmt: skip
"""By name, in order of value."""


def plan(of: Variants, seeds: range) -> list[Run]:
    """All runs of a page, in order of value, runs that are compared next to each other."""
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
