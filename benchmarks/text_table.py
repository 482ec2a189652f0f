"""Few labelled texts: MiniLM by probe, partial and full fine-tuning, LoRA and from scratch, and TF-IDF beside them.

    python benchmarks/text_table.py --data ../shared/data --out build/text --minutes 20
    python benchmarks/text_table.py --data ../shared/data --out build/text --page docs/results/text.md

For each set (sms_spam, movie_reviews) and each of 8, 32, 128 and at most 2,000 training texts per class, drawn from the
set's training split by the seed, a run is made and tested on the set's whole test split. TF-IDF with logistic
regression is what the probe's own report has beside it. Cells are made in order of value, until the CPU minutes are
spent; what was made is kept in benchmarks/rows/texts.jsonl and not made again. Options were fixed beforehand and
nothing is chosen by the test split.
"""

import argparse
import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _cells import finished, spend
from _kept import FOLDER, Rows

SETS = {"sms_spam": ("train", "test"), "movie_reviews": ("train", "test")}
SIZES = (8, 32, 128)
MOST, MOST_EPOCHS = 2000, 3
"""Texts per class where they are many, or all that the class has; then each is seen so often."""
SEEDS = (0, 1, 2)
WAYS = {
    "probe": ("probe", {}),
    "partial": ("partial", {"options.lr": 1e-4, "options.epochs": 10, "options.min_steps": 60}),
    "lora": ("lora", {"options.lr": 1e-3, "options.epochs": 10, "options.min_steps": 60}),
    "full": ("lp_ft", {"options.lr": 5e-5, "options.epochs": 10, "options.min_steps": 60}),
    "scratch": ("scratch", {"options.lr": 5e-4, "options.epochs": 20, "options.min_steps": 60}),
}
"""Strategy and settings. The rates are usual ones for such networks (Devlin et al. 2019; Hu et al. 2021)."""
SECONDS = {"probe": 25, "partial": 60, "lora": 80, "full": 150, "scratch": 200}
"""CPU seconds of a cell, about, on one core of the machine that this was written on."""
NAMES = ("set", "size", "way", "seed")
Cell = tuple[Any, ...]


def cells() -> Iterator[Cell]:
    """Every cell, those first that say most: the bars are at 8 and 32 texts per class."""
    for ways, sizes in (
        (("probe",), SIZES),
        (("partial",), (32, 8)),
        (("probe", "full"), (MOST,)),
        (("lora",), (32, 8)),
        (("full",), (32,)),
        (("partial",), (128,)),
    ):
        for size in sizes:
            for way in ways:
                yield from ((name, size, way, seed) for name in SETS for seed in SEEDS)
    rest = [(name, size, way, seed) for way in WAYS for size in (*SIZES, MOST) for name in SETS for seed in SEEDS]
    yield from rest


def seconds_of(cell: Cell) -> float:
    """About how many CPU seconds a cell takes."""
    return SECONDS[cell[2]] * (4 if cell[1] == MOST else 1)


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Label and text of each line; quotation marks are part of a text."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split("\t", 1)) for line in lines]  # type: ignore[misc]


def table_of(data: Path, name: str, size: int, seed: int, out: Path) -> Path:
    """A table with so many training texts per class, drawn by the seed, and the whole test split."""
    train, test = (rows_of(data / name / f"{split}.tsv") for split in SETS[name])
    random = np.random.default_rng([seed, size])
    picked = []
    for label in sorted({label for label, _ in train}):
        of_class = [row for row in train if row[0] == label]
        picked += [
            of_class[at] for at in random.choice(len(of_class), min(size, len(of_class)), replace=False).tolist()
        ]
    path = out / f"{name}-{size}-{seed}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text", "split"])
        writer.writerows([*row, "train"] for row in picked)
        writer.writerows([*row, "test"] for row in test)
    return path


def by_tfidf(table: Path, seed: int) -> str:
    """Whether each test text is right by TF-IDF, as ones and zeros."""
    from regraft.contracts.baseline import BASELINES
    from regraft.data.open import open_dataset

    dataset = open_dataset(table)
    contents, targets = [one.contents for one in dataset.examples], dataset.targets
    train, test = (np.flatnonzero([one.split == split for one in dataset.examples]) for split in ("train", "test"))
    predict = BASELINES.get("tfidf").fitted([contents[at] for at in train.tolist()], targets[train], 2, seed)
    said = predict([contents[at] for at in test.tolist()]).argmax(axis=1)
    return "".join(map(str, (said == targets[test]).astype(int).tolist()))


def made(data: Path, cell: Cell, out: Path, kept: Rows) -> Mapping[str, Any]:
    """What the cell's row holds; of a probe, a row of TF-IDF is kept too."""
    from regraft.recipe import Recipe, Source, with_settings

    name, size, way, seed = cell
    strategy, settings = WAYS[way]
    table, folder = table_of(data, name, size, seed, out), out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    recipe = Recipe(
        data=str(table), backbone="minilm_l6@package", strategy=strategy, seed=seed, threads=1,
        source=Source(text_columns=("text",), allow_leaks=True),
    )  # fmt: skip
    if size == MOST and settings:
        settings = {**settings, "options.epochs": MOST_EPOCHS}
    finished(folder, with_settings(recipe, settings))
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        tested = [row for row in csv.DictReader(file) if row["split"] == "test"]
    if way == "probe":
        plain = by_tfidf(table, seed)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert abs(plain.count("1") / len(plain) - report["baselines"][0]["paired"]["b"]) < 1e-9, (
            "not what the report has"
        )
        kept.add({**dict(zip(NAMES, (name, size, "tfidf", seed), strict=True)), **scored(plain)})
    shutil.rmtree(folder)
    return scored("".join(str(int(row["label"] == row["predicted"])) for row in tested))


def scored(right: str) -> Mapping[str, Any]:
    """What is kept of ones and zeros, whether each test text is right."""
    return {"accuracy": right.count("1") / len(right), "right": right}


def main() -> None:
    """Make cells, or the page."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--minutes", type=float, default=20, help="of CPU time")
    asked.add_argument("--page", type=Path)
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = Rows(FOLDER / "texts.jsonl")
    if given.page:
        from _text_page import page

        given.page.write_text(page(kept.rows), encoding="utf-8")
        return
    have = {(row["set"], row["size"], row["way"], row["seed"]) for row in kept.rows}
    todo = [cell for cell in dict.fromkeys(cells()) if cell not in have]
    print(f"{len(todo)} cells to make, about {sum(map(seconds_of, todo)) / 60:.0f} CPU minutes; "
          f"at most {given.minutes:g} are spent.", flush=True)  # fmt: skip
    spend(kept, list(cells()), NAMES, lambda cell: made(given.data, cell, given.out, kept), seconds_of,
          minutes=given.minutes)  # fmt: skip


if __name__ == "__main__":
    main()
