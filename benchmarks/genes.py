"""Tables of numbers: dense layers from scratch, and pretrained without labels, beside what people use on such tables.

    .venv/bin/python benchmarks/genes.py [--only-write]

Needs the shared data (golub_leukemia). Some twelve minutes of one core. Rows are kept in benchmarks/rows, so a run that
was stopped goes on. Writes docs/results/genes.md.
"""

import argparse
import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _kept import FOLDER, Kept
from _markdown import head, line
from _sets import ROOT, SHARED
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regraft
from regraft.contracts.metric import metric
from regraft.evaluation.differences import compare
from regraft.evaluation.intervals import measure

PAGE = ROOT / "docs" / "results" / "genes.md"
RUNS = ROOT / "runs" / "genes"
SEEDS, FOLDS, INNER = 3, 3, 3
INTRODUCTION = """Three tables: golub_leukemia (72 patients, 7,129 probes, ALL or AML: both parts of the original
split together), and of scikit-learn breast_cancer (569 rows, 30 columns, two classes) and diabetes (442 rows, 10
columns, a number). Every row is predicted by a model that did not see it: {folds} folds, the same for every line of a
column, repeated with {seeds} seeds. What a model chooses (penalty, depth, threshold, epoch) it chooses within its own
training rows, by cross-validation or a validation part, and standardisation is fitted there too: nested
cross-validation. Shown is the mean over the seeds of accuracy (diabetes: R squared) on all rows, and in brackets the
ends of the seeds' 95 % intervals together; an interval resamples rows and takes the models as given.

* **logistic or ridge regression** is `regraft fit --backbone columns@random`.
* **gradient boosting** is scikit-learn's, `max_features="sqrt"`, with 100 trees of depth 1 or 3.
* **nearest shrunken centroids** is NearestCentroid on standardised columns, its threshold from 0 to 4 (Tibshirani et
  al. 2002, doi:10.1073/pnas.082099299); it is made for classes.
* **dense layers, from scratch** are `--backbone columns_mlp@random --strategy scratch`, every default as it is.
* **dense layers, pretrained** were trained first without labels on the same training rows (`--task reconstruction
  --strategy pretrain`, every default), then a head alone on their features (`--strategy probe`), or every layer
  (`--strategy full`), with every default again.

Made by `python benchmarks/genes.py`."""
NOT_RUN = """Not run: cells that the tables say so of (the same command goes on with them), and pretraining on other
tables of expression, which alone could bring what the rows at hand do not have."""


def golub() -> tuple[np.ndarray, np.ndarray]:
    """Values and labels of all patients."""
    values, labels = [], []
    for name in ("train", "test"):
        with (SHARED / "data" / "golub_leukemia" / f"{name}.csv").open(newline="") as file:
            rows = [*csv.reader(file)][1:]
        values += [list(map(float, row[2:])) for row in rows]
        labels += [row[1] for row in rows]
    return np.array(values), np.array(labels)


def bunch(load: Callable[[], Any]) -> tuple[np.ndarray, np.ndarray]:
    """The same of one of scikit-learn's sets."""
    data = load()
    return data.data, data.target_names[data.target] if hasattr(data, "target_names") else data.target


SETS: Mapping[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "golub_leukemia": golub,
    "breast_cancer": lambda: bunch(load_breast_cancer),
    "diabetes": lambda: bunch(load_diabetes),
}
LINEAR, BOOSTING, CENTROIDS = "logistic or ridge regression", "gradient boosting", "nearest shrunken centroids"
PLAIN = (LINEAR, BOOSTING, CENTROIDS)
SCRATCH, PROBED, TUNED = (f"dense layers, {how}" for how in ("from scratch", "pretrained: head", "pretrained: full"))


def is_number(labels: np.ndarray) -> bool:
    """Whether a number is predicted."""
    return labels.dtype.kind == "f"


def written(path: Path, values: np.ndarray, test: np.ndarray, labels: np.ndarray | None) -> Path:
    """A table of the rows, with a column of splits, and of labels where there are any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        own = [] if labels is None else ["label"]
        writer.writerow([*own, "split", *(f"x{at}" for at in range(values.shape[1]))])
        for at, row in enumerate(values):
            own = [] if labels is None else [labels[at]]
            writer.writerow([*own, "test" if test[at] else "train", *row])
    return path


def fit(table: Path, backbone: str, strategy: str, seed: int, task: str) -> Any:
    """A run of ours."""
    out = table.parent / f"run-{time.time_ns()}"
    return regraft.fit(
        table, backbone=backbone, strategy=strategy, seed=seed, task=task, out=out, threads=1, quiet=True
    )


def by_regraft(backbone: str, strategy: str) -> Callable[..., np.ndarray]:
    """Outputs for the tested rows of a model of ours."""

    def fitted(values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int, spot: Path) -> np.ndarray:
        if (kept := spot / f"{backbone}-{strategy}.npy").is_file():
            return np.load(kept)
        table = written(spot / "table.csv", values, test, labels)
        found = f"bundle:{pretrained(values, test, seed, spot)[0]}" if backbone == "pretrained" else backbone
        run = fit(table, found, strategy, seed, "regression" if is_number(labels) else "auto")
        said = run.model.predict(values[test].astype(np.float32))
        outputs = np.array([[*(one.probabilities or one.values).values()] for one in said])
        np.save(kept, outputs)
        return outputs

    return fitted


def pretrained(values: np.ndarray, test: np.ndarray, seed: int, spot: Path) -> tuple[Path, float]:
    """The dense layers trained on the training rows without labels, and the share of the tested rows' hidden cells that
    they explain: the network where there is one already."""
    folder, told = spot / "pretrained", spot / "explained.txt"
    if not told.is_file():
        table = written(spot / "unlabelled.csv", values, test, None)
        run = fit(table, "columns_mlp@random", "pretrain", seed, "reconstruction")
        explained = run.report.evaluation["test"].metrics["hidden_r2"].value
        run.path.rename(folder)
        told.write_text(str(explained))
    return folder, float(told.read_text())


def searched(model: Any, grid: Mapping[str, Any], values: np.ndarray, labels: np.ndarray, seed: int) -> Any:
    """The model with what serves best in the inner folds."""
    return GridSearchCV(model, grid, cv=folds(labels, INNER, seed)).fit(values, labels)


def by_boosting(values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int, spot: Path) -> np.ndarray:
    """Of gradient boosting."""
    grid = {"max_depth": [1, 3]}
    kind = GradientBoostingRegressor if is_number(labels) else GradientBoostingClassifier
    found = searched(kind(max_features="sqrt", random_state=seed), grid, values[~test], labels[~test], seed)
    return found.predict(values[test])[:, None] if is_number(labels) else found.predict_proba(values[test])


def by_centroids(values: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int, spot: Path) -> np.ndarray:
    """Of nearest shrunken centroids, as certain predictions."""
    grid = {"nearestcentroid__shrink_threshold": [None, 0.25, 0.5, 1, 1.5, 2, 3, 4]}
    model = make_pipeline(StandardScaler(), NearestCentroid())
    said = searched(model, grid, values[~test], labels[~test], seed).predict(values[test])
    return (said[:, None] == np.unique(labels)[None]).astype(float)


WAYS: Mapping[str, Callable[..., np.ndarray]] = {
    LINEAR: by_regraft("columns@random", "probe"),
    BOOSTING: by_boosting,
    CENTROIDS: by_centroids,
    SCRATCH: by_regraft("columns_mlp@random", "scratch"),
    PROBED: by_regraft("pretrained", "probe"),
    TUNED: by_regraft("pretrained", "full"),
}


def folds(labels: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions to train on and to test on, stratified by class."""
    kind = KFold if is_number(labels) else StratifiedKFold
    return list(kind(count, shuffle=True, random_state=seed).split(labels[:, None], labels))


def make_rows(kept: Kept) -> None:
    """Every cell that is not kept yet, in order of value; says how long the others will take."""
    order = [*WAYS]
    cells = [(way, name, seed) for some in (order[: len(PLAIN)], order[len(PLAIN) :]) for seed in range(SEEDS)
             for name in SETS for way in some if (way, name) != (CENTROIDS, "diabetes")]  # fmt: skip
    todo = [cell for cell in cells if not kept.where(way=cell[0], set=cell[1], seed=cell[2])]
    began = time.process_time()
    for done, (way, name, seed) in enumerate(todo):
        values, labels = SETS[name]()
        outputs = np.zeros((len(labels), 1 if is_number(labels) else len(np.unique(labels))))
        explained = []
        for fold, (_, positions) in enumerate(folds(labels, FOLDS, seed)):
            test, spot = np.isin(np.arange(len(labels)), positions), RUNS / f"{name}-{seed}-{fold}"
            said = WAYS[way](values, labels, test, seed, spot)
            outputs[test] = said
            if way == PROBED:
                explained.append(pretrained(values, test, seed, spot)[1])
        found = measure(metric("r2" if is_number(labels) else "accuracy"), targets_of(labels), outputs)
        said = outputs[:, 0].round(6).tolist() if is_number(labels) else outputs.argmax(axis=1).tolist()
        kept.add({"way": way, "set": name, "seed": seed, "value": found.value, "low": found.low, "high": found.high,
                  "said": said, **({"explained": explained} if explained else {})})  # fmt: skip
        spent = time.process_time() - began
        left = spent / (done + 1) * (len(todo) - done - 1)
        print(f"{way}, {name}, {seed}: {found.value:.3f}; {spent:.0f} s, about {left:.0f} s of processor time left",
              flush=True)  # fmt: skip


def targets_of(labels: np.ndarray) -> np.ndarray:
    """Numbers (n, 1), or class numbers."""
    return labels[:, None] if is_number(labels) else np.searchsorted(np.unique(labels), labels)


def outputs_of(row: Mapping[str, Any], labels: np.ndarray) -> np.ndarray:
    """The outputs of a cell, as certain predictions of classes."""
    said = np.array(row["said"])
    return said[:, None] if is_number(labels) else np.eye(len(np.unique(labels)))[said]


def difference(kept: Kept, way: str, other: str, name: str) -> tuple[float, float, float, int] | None:
    """The mean over seeds of the first's metric less the second's on the same rows, the ends of the seeds' intervals
    together, and the number of seeds; None if there are none."""
    labels, found = SETS[name]()[1], []
    for seed in range(SEEDS):
        both = [kept.where(way=one, set=name, seed=seed) for one in (way, other)]
        if all(both):
            said = [outputs_of(one[0], labels) for one in both]
            found.append(
                compare(targets_of(labels), *said, metric="r2" if is_number(labels) else "accuracy").difference
            )
    ends = [(0.0 if one.low is None else one.low, 0.0 if one.high is None else one.high) for one in found]
    if not found:
        return None
    lows, highs = zip(*ends, strict=True)
    return float(np.mean([one.value for one in found])), min(lows), max(highs), len(found)


def differences(kept: Kept) -> list[str]:
    """What sets the dense layers apart from the linear model, and pretrained ones from those from scratch; and in words
    where they lose."""
    lines, told = [*head("", "less", *SETS)], dict[str, list[str]]()
    pairs = [(way, LINEAR) for way in (SCRATCH, PROBED, TUNED)] + [(way, SCRATCH) for way in (PROBED, TUNED)]
    for way, other in pairs:
        cells = []
        for name in SETS:
            found = difference(kept, way, other, name)
            if found is None:
                cells.append("not run")
                continue
            value, low, high, seeds = found
            cells.append(f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{fewer(seeds)}")
            outcome = "worse" if high < 0 else "better" if low > 0 else "not told apart"
            told.setdefault(f"{outcome} than {other}", []).append(f"{way.removeprefix('dense layers, ')} ({name})")
        lines.append(line(way, other, *cells))
    said = [
        f"* {key.replace('told apart than', 'told apart from')}: {', '.join(ways)}"
        for key, ways in sorted(told.items())
    ]
    counts = "A difference counts where every seed's interval excludes 0. So the dense layers are"
    return [*lines, "", counts, "", *said]


def fewer(seeds: int) -> str:
    """How many seeds were run, where not all were."""
    return "" if seeds == SEEDS else f" ({seeds} of {SEEDS} seeds)"


def page(kept: Kept) -> str:
    """The page in Markdown."""
    table = [*head("", *SETS)]
    for way in WAYS:
        cells = []
        for name in SETS:
            rows = kept.where(way=way, set=name)
            values = [row["value"] for row in rows]
            ends = f"[{min(row['low'] for row in rows):.3f}, {max(row['high'] for row in rows):.3f}]" if rows else ""
            missing = "–" if (way, name) == (CENTROIDS, "diabetes") else "not run"
            cells.append(f"{np.mean(values):.3f} {ends}{fewer(len(rows))}" if rows else missing)
        table.append(line(way, *cells))
    shares = []
    for name in SETS:
        found = [one for row in kept.where(way=PROBED, set=name) for one in row["explained"]]
        shares.append(f"{np.mean(found):.3f} [{min(found):.3f}, {max(found):.3f}]" if found else "not run")
    return "\n".join([
        "# Genes and other tables", "", INTRODUCTION.format(seeds=SEEDS, folds=FOLDS), "", *table, "",
        "Differences on the same rows, with the ends of the seeds' intervals together:", "",
        *differences(kept), "",
        "How much of the variance of hidden cells the pretrained layers explain in rows that they were not trained on",
        "(0: as much as their columns' means), the mean over folds and seeds, with the lowest and the highest:", "",
        *head("", *SETS), line("hidden cells", *shares), "", NOT_RUN, "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    asked, kept = parser.parse_args(), Kept(Path(FOLDER) / "genes.jsonl")
    if not asked.only_write:
        make_rows(kept)
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
