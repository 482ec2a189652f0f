"""Which recipe of pretraining transfers best: short pretrainings with one budget, judged by probes on other tasks.

    .venv/bin/python benchmarks/pretraining_study.py [--epochs 3] [--px 64] [--minutes 120] [--seeds 2] [--only-write]

Every cell is a `regraft fit` of pretraining/googlenet.toml on the corpus with one thing changed, one thread each, then
linear probes on the target tasks as in `probe_table.py --inside`: no test part is touched. The estimate is printed
first. Cells go in order of value until the minutes are spent (the base with two seeds first, so that chance is known);
the rest is marked as not run, and done when the command is given again, cut-off runs going on where they were. Runs lie
under runs/recipe, rows in benchmarks/rows/recipe.jsonl, from which `--only-write` makes docs/results/recipe.md and its
plot again. Rows are of one length of pretraining: another length needs another `--rows`.
"""

import argparse
import time
from pathlib import Path

from _kept import FOLDER, Kept
from _recipe_data import Found
from _recipe_page import PLOT, page, plot
from _recipe_runs import Bench, Cell, run_all, settings_for
from _sets import ROOT, SHARED
from _targets import TARGETS

from regraft.files import write_text

BASE = "base"
RECIPES: dict[str, tuple[str, ...]] = {
    BASE: (),
    "side heads": ("options.side_heads=true",),
    "rate 0.002": ("options.lr=0.002",),
    "crops from 0.7": ("augment.smallest_share=0.7",),
    "smoothing 0.1": ("options.smoothing=0.1",),
    "dropout 0.2": ("options.dropout=0.2",),
    "balanced": ("options.balanced=true",),
    "greyscale 0.3": ("augment.greyscale=0.3",),
    "rate 0.0002": ("options.lr=0.0002",),
    "mixup 0.2": ("options.mixup=0.2",),
    "no EMA": ("options.ema=0",),
}
"""What differs from pretraining/googlenet.toml, shortened, in order of value: first what was seen to matter, then what
Kornblith et al. 2019, arXiv:1805.08974, measured."""
CORPUS = SHARED / "data" / "source-images"


def plan(recipes: list[str], seeds: int) -> list[Cell]:
    """All cells, in order of value: the base with every seed, then all others with the first seed, and so on."""
    cells = [(BASE, seed) for seed in range(seeds)]
    cells += [(recipe, seed) for seed in range(seeds) for recipe in recipes if recipe != BASE]
    return [Cell(recipe=recipe, changes=RECIPES[recipe], seed=seed) for recipe, seed in cells]


def main() -> None:
    """Run what is missing, then write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="length of every pretraining")
    parser.add_argument("--px", type=int, default=64, help="largest side of its inputs, in pixels")
    parser.add_argument("--backbone", default="googlenet:bn", help="family and variant that is trained from scratch")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="what it is trained on")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES), metavar="RECIPE",
                        help=f"some of: {', '.join(RECIPES)}; the base always runs")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=2, help="pretrainings of every recipe")
    parser.add_argument("--probe-px", type=int, default=96, help="side of the inputs of probes, in pixels")
    parser.add_argument("--data", nargs="+", default=list(TARGETS), choices=list(TARGETS), help="target tasks")
    parser.add_argument("--per-class", type=int, nargs="+", default=[10, 50], help="examples of probes; 0: all")
    parser.add_argument("--draws", type=int, default=3, help="draws of these examples")
    parser.add_argument("--minutes", type=float, default=120.0, help="the budget")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, each with one thread")
    parser.add_argument("--rows", type=Path, default=FOLDER / "recipe.jsonl", help="file of what was measured")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="folder of the page and its plot")
    parser.add_argument("--only-write", action="store_true", help="make the page of the rows that are there")
    given = parser.parse_args()
    ends_at, kept = time.time() + 60 * given.minutes, Kept(given.rows)
    draws = tuple((n, seed) for n in given.per_class for seed in range(given.draws))
    if not given.only_write:
        if not given.corpus.is_dir():
            raise SystemExit(f"{given.corpus} is not there: this study needs the corpus and the shared data sets.")
        settings = settings_for(given.corpus, given.backbone, epochs=given.epochs, px=given.px, probe_px=given.probe_px)
        kept.settle(vars(settings))
        at = Bench(settings=settings, corpus=given.corpus.resolve(), data=tuple(given.data), draws=draws, kept=kept)
        run_all(plan(given.recipes, given.seeds), at, ends_at=ends_at, jobs=given.jobs)
    found = Found(kept, list(RECIPES), given.data, draws)
    command = f"python benchmarks/pretraining_study.py --epochs {found.settings.epochs} --px {found.settings.px}"
    write_text(given.out / PLOT, plot(found))
    write_text(given.out / "recipe.md", page(found, RECIPES, range(given.seeds), command, given.draws))
    print(f"wrote {given.out / 'recipe.md'}")


if __name__ == "__main__":
    main()
