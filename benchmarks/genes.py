"""Tables of numbers: a linear model and dense layers on the columns, beside what people use on such tables.

    .venv/bin/python benchmarks/genes.py [--only-write]

Needs the shared data (golub_leukemia). Rows are kept in benchmarks/rows, so a run that was stopped goes on. Writes
docs/results/genes.md.
"""

import argparse
import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _kept import FOLDER, Kept
from _markdown import head, line, told
from _sets import ROOT, SHARED
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regraft
from regraft.contracts.metric import metric
from regraft.evaluation.intervals import measure
from regraft.identity import derive_seed

PAGE = ROOT / "docs" / "results" / "genes.md"
RUNS = ROOT / "runs" / "genes"
SEEDS = 3
TESTED = 0.3
INTRODUCTION = """Three tables, {seeds} splits each, the same for every row of a column: of golub_leukemia (72
patients, 7,129 probes, ALL or AML) the original split into 38 and 34, and two drawn ones of the
same sizes; of scikit-learn's breast_cancer (569 rows, 30 columns, two classes) and diabetes (442
rows, 10 columns, a number) drawn ones with 30 % for the test. What is shown is the mean over the
splits of accuracy on the test rows (diabetes: R squared), and in brackets the ends of the three
splits' 95 % intervals together. Penalties and thresholds are chosen by cross-validation on training
rows; standardisation is fitted there too. No labels of the test were looked at to choose anything.

* **linear** is `regraft fit --backbone columns@random`: logistic or ridge regression on the standardised
  columns.
* **dense layers** are `--backbone columns_mlp@random --strategy scratch`, every default as it is; the seed of
  the weights goes with the split. They were not pretrained.
* **gradient boosting** is scikit-learn's HistGradientBoosting with its defaults, which on 38 rows split nothing
  (20 rows a leaf) and predict the more frequent class; **nearest shrunken centroids**
  is NearestCentroid on standardised columns, the threshold of 0 to 4 chosen by five folds (Tibshirani et al.
  2002).

Made by `python benchmarks/genes.py`."""
NOT_RUN = """Not run: pretraining the dense layers on training rows without labels (a denoising autoencoder; the
project has no such task yet), another expression set, repeated nested cross-validation in place of
three splits."""


def golub() -> tuple[np.ndarray, np.ndarray, int]:
    """Values and labels of all patients, the original training rows first, and how many these are."""
    values, labels, sizes = [], [], []
    for name in ("train", "test"):
        with (SHARED / "data" / "golub_leukemia" / f"{name}.csv").open(newline="") as file:
            rows = [*csv.reader(file)][1:]
        values += [list(map(float, row[2:])) for row in rows]
        labels += [row[1] for row in rows]
        sizes.append(len(rows))
    return np.array(values), np.array(labels), sizes[0]


def bunch(load: Callable[[], Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """The same of one of scikit-learn's sets."""
    data = load()
    labels = data.target_names[data.target] if hasattr(data, "target_names") else data.target
    return data.data, labels, 0


SETS: Mapping[str, Callable[[], tuple[np.ndarray, np.ndarray, int]]] = {
    "golub_leukemia": golub,
    "breast_cancer": lambda: bunch(load_breast_cancer),
    "diabetes": lambda: bunch(load_diabetes),
}


def split_of(name: str, labels: np.ndarray, first: int, seed: int) -> np.ndarray:
    """Whether each row is tested."""
    if first and seed == 0:
        return np.arange(len(labels)) >= first
    order = np.random.default_rng(derive_seed(seed, "genes", name)).permutation(len(labels))
    return order < (len(labels) - first if first else round(TESTED * len(labels)))


def by_regraft(backbone: str, strategy: str) -> Callable[..., np.ndarray]:
    """Outputs for the tested rows of a model of ours."""

    def fitted(name: str, values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        folder = RUNS / f"{name}-{strategy}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "table.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "split", *(f"x{at}" for at in range(values.shape[1]))])
            for row, label, tested in zip(values, labels, test, strict=True):
                writer.writerow([label, "test" if tested else "train", *row])
        task = "regression" if labels.dtype.kind == "f" else "auto"
        run = regraft.fit(
            path, backbone=backbone, strategy=strategy, seed=seed, task=task, out=folder / f"run-{time.time_ns()}",
            threads=1, quiet=True,
        )  # fmt: skip
        said = run.model.predict(values[test].astype(np.float32))
        return np.array([[*(one.probabilities or one.values).values()] for one in said])

    return fitted


def by_boosting(name: str, values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Of gradient boosting."""
    if labels.dtype.kind == "f":
        model = HistGradientBoostingRegressor(random_state=seed).fit(values[~test], labels[~test])
        return model.predict(values[test])[:, None]
    return (
        HistGradientBoostingClassifier(random_state=seed).fit(values[~test], labels[~test]).predict_proba(values[test])
    )


def by_centroids(name: str, values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Of nearest shrunken centroids, as certain predictions."""
    threshold = {"nearestcentroid__shrink_threshold": [None, 0.25, 0.5, 1, 1.5, 2, 3, 4]}
    search = GridSearchCV(make_pipeline(StandardScaler(), NearestCentroid()), threshold, cv=5)
    said = search.fit(values[~test], labels[~test]).predict(values[test])
    return (said[:, None] == np.unique(labels)[None]).astype(float)


WAYS: Mapping[str, Callable[..., np.ndarray]] = {
    "linear": by_regraft("columns@random", "probe"),
    "gradient boosting": by_boosting,
    "nearest shrunken centroids": by_centroids,
    "dense layers": by_regraft("columns_mlp@random", "scratch"),
}


def make_rows(kept: Kept) -> None:
    """Every cell that is not kept yet, in order of value; says how long the others will take."""
    cells = [(way, name, seed) for way in WAYS for name in SETS for seed in range(SEEDS)
             if not (way == "nearest shrunken centroids" and name == "diabetes")]  # fmt: skip
    todo = [cell for cell in cells if not kept.where(way=cell[0], set=cell[1], seed=cell[2])]
    began = time.process_time()
    for done, (way, name, seed) in enumerate(todo):
        values, labels, first = SETS[name]()
        test = split_of(name, labels, first, seed)
        outputs = WAYS[way](name, values, labels, test, seed)
        if labels.dtype.kind == "f":
            found = measure(metric("r2"), labels[test][:, None], outputs)
        else:
            targets = np.searchsorted(np.unique(labels), labels[test])
            found = measure(metric("accuracy"), targets, outputs)
        kept.add({"way": way, "set": name, "seed": seed, "value": found.value, "low": found.low, "high": found.high})
        spent = time.process_time() - began
        left = spent / (done + 1) * (len(todo) - done - 1)
        print(f"{way}, {name}, {seed}: {found.value:.3f}; about {left:.0f} s of processor time left", flush=True)


def page(kept: Kept) -> str:
    """The page in Markdown."""
    table = [*head("", *SETS)]
    for way in WAYS:
        cells = []
        for name in SETS:
            rows = kept.where(way=way, set=name)
            values = [row["value"] for row in rows]
            ends = f"[{min(row['low'] for row in rows):.3f}, {max(row['high'] for row in rows):.3f}]" if rows else ""
            cells.append(f"{np.mean(values):.3f} {ends}" if len(rows) == SEEDS else "not run" if rows else "–")
        table.append(line(way, *cells))
    return "\n".join(
        ["# Genes and other tables", "", INTRODUCTION.format(seeds=SEEDS), "", *table, "", told(NOT_RUN), ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    asked, kept = parser.parse_args(), Kept(Path(FOLDER) / "genes.jsonl")
    if not asked.only_write:
        make_rows(kept)
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
