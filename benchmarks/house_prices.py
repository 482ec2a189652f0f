"""What a house's picture adds to four numbers, in predicting its price.

    .venv/bin/python benchmarks/house_prices.py

Needs the shared checkpoint and data. A few minutes, no GPU. Writes docs/results/house_prices.md.
"""

import csv
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from _sets import ROOT, SHARED, UNPACKED, Set
from sklearn.ensemble import HistGradientBoostingRegressor

from regraft.bundles.bundle import load
from regraft.contracts.metric import metric
from regraft.evaluation.differences import compare
from regraft.evaluation.intervals import measure
from regraft.tasks.linear import Solution, solve
from regraft.tasks.regression import Regression, task

PAGE = ROOT / "docs" / "results" / "house_prices.md"
RUNS = ROOT / "runs" / "house_prices"
INPUTS_PX = (64, 128)
SEEDS = range(5)
FOLDS = 5
COMMON_ZIPCODE = 5
"""Training houses that a zipcode needs for a coefficient of its own; the others share one."""

INTRODUCTION = f"""house_prices: 528 houses, each with one picture of its front and four numbers (bedrooms, bathrooms,
area, zipcode). The logarithm of the price is learned; figures are of the price in dollars and of its natural logarithm,
where an error of 0.1 is about 10 %.

* **picture**: ridge regression on the pooled features of the shipped GoogLeNet, which is what
  `regraft fit houses.csv --task regression --set target.transform=log` solves; inputs of
  {" and ".join(map(str, INPUTS_PX))} pixels. The picture from the front is all that it sees: no kitchen, no bathroom.
* **numbers**: ridge regression on the logarithm of the area, bedrooms, bathrooms, and one coefficient per zipcode with
  {COMMON_ZIPCODE} training houses or more; or scikit-learn's HistGradientBoostingRegressor with its defaults, zipcode
  as a number.
* **both**: the same with one number more, the price that the picture alone suggests; for training houses that is the
  out-of-fold prediction, so it is as uncertain as it will be for new houses.

Penalties are chosen by {FOLDS}-fold cross-validation on training houses; predictions of the logarithm are averaged over
{len(SEEDS)} draws of these folds. In brackets: 95 % bootstrap intervals over the houses that are judged; differences
are paired, on the same houses, and below 0 where the first is better. Made by `python benchmarks/house_prices.py`."""


@dataclass(frozen=True, kw_only=True)
class Houses:
    """The set, a row a house."""

    files: list[Path]
    """The pictures."""
    test: np.ndarray
    """Whether a house is of the set's own test part."""
    numbers: np.ndarray
    """Bedrooms, bathrooms, square feet, zipcode."""
    price: np.ndarray
    """Dollars, (n 1)."""


def opened() -> tuple[Houses, Path]:
    """The houses, and their table."""
    table = Set(name="house_prices", path="houses.csv").open()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("bedrooms", "bathrooms", "area_sqft", "zipcode")
    houses = Houses(
        files=[table.parent / "images" / row["image"] for row in rows],
        test=np.array([row["split"] == "test" for row in rows]),
        numbers=np.array([[float(row[name]) for name in columns] for row in rows]),
        price=np.array([[float(row["price_usd"])] for row in rows]),
    )
    return houses, table


def features_of(houses: Houses, table: Path, input_px: int) -> np.ndarray:
    """What the head of a probe reads of every picture (n d), by way of a run of the product."""
    out = RUNS / str(input_px)
    if not (out / "report.json").is_file():
        command = [sys.executable, "-m", "regraft", "fit", str(table), "--path-column", "image", "--set",
                   "source.folder=images", "--label-column", "price_usd", "--task", "regression", "--set",
                   "target.transform=log", "--backbone", "googlenet", "--input-px",
                   str(input_px), "--out", str(out), "--quiet"]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    bundle = load(out)
    batches = [houses.files[at : at + 64] for at in range(0, len(houses.files), 64)]
    return np.concatenate([bundle.features([bundle.prepare(file) for file in batch]) for batch in batches])


def ridge(asked: Regression, rows: np.ndarray, price: np.ndarray, seed: int) -> Solution:
    """Ridge regression as a probe solves it."""
    fold_of = asked.deal(price, None, FOLDS, seed).of_example
    return solve(asked.solved_loss(price), rows, fold_of=fold_of)


def columns_of(numbers: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The numbers for a linear model: log area, bedrooms, bathrooms, and a column per common zipcode."""
    codes, counts = np.unique(numbers[train, 3], return_counts=True)
    common = codes[counts >= COMMON_ZIPCODE]
    return np.column_stack([np.log(numbers[:, 2]), numbers[:, :2], numbers[:, 3:] == common])


def predictions(houses: Houses, pictures: Mapping[int, np.ndarray], train: np.ndarray) -> dict[str, np.ndarray]:
    """Log price of every house by each model, learned from the houses `train` (positions)."""
    price = houses.price[train]
    asked = task(["price_usd"], {"transform": "log"}).prepared(price)
    total: dict[str, np.ndarray] = {}

    def add(name: str, log_price: np.ndarray) -> None:
        total[name] = total.get(name, 0.0) + log_price.reshape(-1, 1) / len(SEEDS)

    def linear(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Log price of all houses; that of training houses by a head that did not see them, for another model."""
        head = ridge(asked, rows[train].astype(np.float32), price, seed)
        said = np.log(asked.outputs(rows.astype(np.float32) @ head.weight.T + head.bias))
        honest = said.copy()
        honest[train] = np.log(asked.outputs(head.out_of_fold))
        return said, honest

    def boosted(rows: np.ndarray, seed: int) -> np.ndarray:
        model = HistGradientBoostingRegressor(random_state=seed)
        return model.fit(rows[train], np.log(price[:, 0])).predict(rows)

    plain = columns_of(houses.numbers, train)
    for seed in SEEDS:
        add("the median", np.full(len(houses.price), np.log(np.median(price))))
        add("numbers, ridge", linear(plain, seed)[0])
        add("numbers, boosting", boosted(houses.numbers, seed))
        for px, rows in pictures.items():
            said, honest = linear(rows, seed)
            add(f"picture, {px} px", said)
            add(f"both, ridge, {px} px", linear(np.column_stack([plain, honest]), seed)[0])
            add(f"both, boosting, {px} px", boosted(np.column_stack([houses.numbers, honest]), seed))
    return total


def out_of_fold(houses: Houses, pictures: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Log price of every house by models that did not see it: five folds over all houses."""
    fold_of = task(["price_usd"]).deal(houses.price, None, FOLDS, seed=0).of_example
    found: dict[str, np.ndarray] = {}
    for fold in range(FOLDS):
        for name, said in predictions(houses, pictures, np.flatnonzero(fold_of != fold)).items():
            found.setdefault(name, np.zeros_like(said))[fold_of == fold] = said[fold_of == fold]
    return found


def table_of(price: np.ndarray, said: Mapping[str, np.ndarray]) -> list[str]:
    """Every model's errors."""
    mae, r2 = metric("mae"), metric("r2")
    lines = ["| model | MAE, dollars | MAE of ln price | R² of ln price |", "| --- | --- | --- | --- |"]
    for name, log_price in said.items():
        dollars = measure(mae, price, np.exp(log_price))
        logs, explained = (measure(one, np.log(price), log_price) for one in (mae, r2))
        lines.append(f"| {name} | {dollars} | {logs} | {explained} |")
    return lines


def differences(price: np.ndarray, said: Mapping[str, np.ndarray]) -> list[str]:
    """What one source adds to another, on the same houses."""
    pairs = [(f"picture, {px} px", "the median") for px in INPUTS_PX]
    for how in ("ridge", "boosting"):
        pairs += [(f"both, {how}, {px} px", f"numbers, {how}") for px in INPUTS_PX]
        pairs += [(f"both, {how}, {px} px", f"picture, {px} px") for px in INPUTS_PX]
    lines = ["| | less | MAE, dollars | MAE of ln price |", "| --- | --- | --- | --- |"]
    for one, other in pairs:
        in_units: list[Callable[[np.ndarray], np.ndarray]] = [np.exp, lambda log_price: log_price]
        cells = [
            compare(unit(np.log(price)), unit(said[one]), unit(said[other]), metric="mae").difference.told(signed=True)
            for unit in in_units
        ]
        lines.append(f"| {one} | {other} | {' | '.join(cells)} |")
    return lines


def reading(price: np.ndarray, said: Mapping[str, np.ndarray]) -> list[str]:
    """What the figures on all houses come to."""
    log_price, px = np.log(price), INPUTS_PX[-1]
    alone = measure(metric("r2"), log_price, said[f"picture, {px} px"])
    added = compare(log_price, said[f"both, ridge, {px} px"], said["numbers, ridge"], metric="mae").difference
    low, high = (0.0 if end is None else end for end in (added.low, added.high))
    verdict = (
        "so it adds nothing that can be told from chance" if low <= 0 <= high
        else "so it helps" if high < 0 else "so it harms"
    )  # fmt: skip
    text = (
        f"Alone, the picture at {px} pixels explains {alone.told()} of the variance of the logarithm of the price. "
        "Beside the numbers it changes the ridge regression's mean absolute error of the logarithm by "
        f"{added.told(signed=True)}, {verdict}. That is said of the features of one network, trained on small "
        "pictures of other things, and of one picture of the front."
    )
    return wrap(text, 118, break_on_hyphens=False)


def page(houses: Houses, pictures: Mapping[int, np.ndarray]) -> str:
    """The study as Markdown."""
    test = houses.test
    on_test = {name: said[test] for name, said in predictions(houses, pictures, np.flatnonzero(~test)).items()}
    on_all = out_of_fold(houses, pictures)
    return "\n".join([
        "# What a house's picture adds to four numbers", "", INTRODUCTION, "", *reading(houses.price, on_all), "",
        f"## On the set's own test part ({test.sum()} houses, {(~test).sum()} to learn from)", "",
        *table_of(houses.price[test], on_test), "", *differences(houses.price[test], on_test), "",
        f"## On all {len(test)} houses, by {FOLDS}-fold cross-validation", "",
        "Every house is judged by models that did not see it. The intervals take the models as given: that other folds",
        "would have made other ones is not in them.", "",
        *table_of(houses.price, on_all), "", *differences(houses.price, on_all), "",
    ])  # fmt: skip


def main() -> None:
    """Run the study and write its page."""
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not there: this study needs the shared data sets.")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    houses, table = opened()
    pictures = {px: features_of(houses, table, px) for px in INPUTS_PX}
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(houses, pictures))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
