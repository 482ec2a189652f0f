"""Rows of numbers from a table to a saved model: columns by name, what is missing, standardisation in every fold."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from regraft.bundles.bundle import load
from regraft.contracts.modality import MODALITIES
from regraft.data.open import open_dataset
from regraft.errors import BadData, RegraftError, Undecodable
from regraft.modalities.table.prepare import Header, Preparation, Row
from regraft.recipe import Recipe, Source
from regraft.values import Notice, Prediction
from regraft.workbench.evaluate import evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

TABLE = MODALITIES.get("table")
Write = Callable[[str, Sequence[Sequence[object]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, rows: Sequence[Sequence[object]]) -> Path:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / name

    return written


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 rows of scikit-learn's breast cancer, the last 60 for the test, a few cells empty."""
    data, path = load_breast_cancer(), tmp_path_factory.mktemp("cancer") / "cancer.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "split", *data.feature_names])
        for at in range(200):
            cells = ["" if at % 50 == 7 and column == 3 else value for column, value in enumerate(data.data[at])]
            split = "test" if at >= 140 else "train"
            writer.writerow([data.target_names[data.target[at]], split, *cells])
    return path


@pytest.fixture(scope="module")
def done(cancer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDone, list[str]]:
    recipe = Recipe(data=str(cancer), backbone="columns@random", threads=1)
    *events, last = fit(recipe, tmp_path_factory.mktemp("runs") / "linear")
    assert isinstance(last, RunDone)
    return last, [event.text for event in events if isinstance(event, Notice)]


def test_a_probe_on_the_columns_is_a_logistic_regression(done: tuple[RunDone, list[str]], cancer: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    report = done[0].report
    assert report.evaluation["test"].metrics["accuracy"].value > 0.9
    assert any("4 empty cells replaced by the column's mean" in text for text in done[1])
    bundle, data = load(done[0].path), load_breast_cancer()
    values = data.data[:200].astype(np.float64)
    values[np.arange(7, 200, 50), 3] = np.nan
    train = values[:140]
    scaled = np.nan_to_num((values - np.nanmean(train, axis=0)) / np.nanstd(train, axis=0))
    theirs = LogisticRegression(C=report.strategy.facts["c"], tol=1e-8, max_iter=5000).fit(
        scaled[:140], data.target[:140]
    )
    said = [one.probabilities["malignant"] for one in bundle.predict(values[140:].astype(np.float32))]
    wanted = theirs.predict_proba(scaled[140:])[:, 0]
    temperature = bundle.model.temperature
    logits = np.log(wanted / (1 - wanted)) / temperature
    assert np.abs(said - 1 / (1 + np.exp(-logits))).max() < 0.02


def test_columns_are_found_by_name_in_another_order_and_others_are_left_out(
    done: tuple[RunDone, list[str]], cancer: Path, write: Write
) -> None:
    rows = [*csv.reader(cancer.read_text().splitlines())]
    plain = [one for one in predict(done[0].path, [cancer]) if isinstance(one, Prediction)]
    order = [*range(len(rows[0]) - 1, -1, -1)]
    turned = write(
        "turned.csv", [[*(row[at] for at in order), "extra" if at == 0 else 5] for at, row in enumerate(rows)]
    )
    again = [one for one in predict(done[0].path, [turned]) if isinstance(one, Prediction)]
    assert [one.probabilities for one in again] == [one.probabilities for one in plain]
    assert plain[0].id == "row 2"
    *events, _ = evaluate(done[0].path, turned)
    assert not [event for event in events if isinstance(event, Notice) and "missing" in event.text]


def test_a_missing_column_is_refused_by_name_or_taken_at_its_mean(
    done: tuple[RunDone, list[str]], cancer: Path, write: Write, tmp_path: Path
) -> None:
    rows = [*csv.reader(cancer.read_text().splitlines())]
    without = write("without.csv", [row[:2] + row[3:] for row in rows])
    with pytest.raises(BadData, match=r"is not a table(?s:.*)\.parquet, \.h5ad"):
        list(predict(done[0].path, [tmp_path]))
    (first, *_) = (one for one in predict(done[0].path, [without]) if isinstance(one, Prediction))
    assert "1 column of the network is missing ('mean radius')" in (first.error or "")
    start = {"data": str(without), "backbone": f"bundle:{done[0].path}", "threads": 1}
    with pytest.raises(BadData, match=r"'mean radius'(?s:.*)prepare\.missing=columns"):
        list(fit(Recipe(**start), tmp_path / "refused"))
    *events, again = fit(Recipe(**start, prepare={"missing": "columns"}), tmp_path / "taken")
    assert any("replaced by their means" in event.text for event in events if isinstance(event, Notice))
    assert len(load(again.path).card.preparation.columns) == 30


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["label", "x", "x"], ["a", 1, 2], ["b", 2, 3]], "1 column name more than once: 'x'"),
        ([["label", "x", "y"], ["a", 1, 2], ["b", "high", 3]], "row 3: the column 'x' holds 'high' among numbers"),
        ([["label", "x", "y"], ["a", 1, 2], ["b", "inf", 3]], "row 3: the column 'x' holds 'inf' among numbers"),
        ([["label", "x", "y"], ["a", 1, 2], ["b", 2]], "row 3: 2 fields where the header has 3"),
        ([["label", "x", "y"]], "a header and no rows"),
        ([["class", "x", "y"], ["a", 1, 2], ["b", 2, 3]], "no column in"),
        ([["label", "file"], ["a", "b.txt"], ["b", "c.txt"]], "no column in"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(write: Write, rows: Sequence[Sequence[object]], message: str) -> None:
    with pytest.raises(RegraftError, match=message):
        open_dataset(write("bad.csv", rows))


def test_text_columns_are_left_out_where_rows_are_asked_for(write: Write) -> None:
    path = write("mixed.csv", [["label", "name", "x"], *[["ab"[at % 2], f"n{at}", at] for at in range(6)]])
    with pytest.raises(RegraftError, match="There is no column"):
        open_dataset(path)
    dataset = open_dataset(path, modality="table")
    assert any("without any number left out: name" in note.text for note in dataset.notes)
    assert dataset.examples[0].contents["row"].value.header.names == ("x",)


def test_parquet_and_frames_give_the_same_rows(write: Write, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = write("t.csv", [["label", "x", "y"], *[["ab"[at % 2], at, "" if at == 2 else at / 2] for at in range(6)]])
    frame = pandas.read_csv(path)
    frame.to_parquet(tmp_path / "t.parquet")
    found = [
        [TABLE.identity(one.contents)[0] for one in open_dataset(source).examples]
        for source in (path, tmp_path / "t.parquet", frame)
    ]
    assert found[0] == found[1] == found[2]


def test_standardisation_is_fitted_on_the_rows_it_is_given_alone() -> None:
    header = Header(("a", "b", "c"))
    rows = [Row(header, np.array(row, dtype=np.float32)) for row in ([1, 5, np.nan], [3, 5, 2], [5, 5, 4])]
    fitted = Preparation(columns=header.names).fitted(rows)
    assert fitted.means == (3, 5, 3)
    assert fitted.deviations == (pytest.approx(1.632993), 1, 1)
    assert Preparation.from_json(fitted.to_json()) == fitted
    assert np.allclose(fitted.standardised(rows[0]), [-1.224745, 0, 0])
    with pytest.raises(Undecodable, match="empty cells in c"):
        replace(fitted, missing="none").standardised(rows[0])
    far = Row(Header(("c", "b", "a")), np.array([3, 1e9, 3], dtype=np.float32))
    assert fitted.standardised(far).tolist() == [0, 20, 0]


def test_every_fold_is_standardised_by_its_own_training_rows(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    rows = [["ab"[at % 2], *(random.normal(size=4) + at % 2)] for at in range(40)]
    path, counts = write("small.csv", [["label", *"wxyz"], *rows]), list[int]()
    fitted = Preparation.fitted

    def counting(self: Preparation, given: Sequence[Row]) -> Preparation:
        counts.append(len(given))
        return fitted(self, given)

    monkeypatch.setattr(Preparation, "fitted", counting)
    *_, done = fit(Recipe(data=str(path), backbone="columns@random", threads=1), tmp_path / "cv")
    assert counts == [40, 32, 32, 32, 32, 32]
    assert done.report.main == "cross-validation"


@pytest.mark.slow
def test_wide_tables_are_no_burden(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "wide.csv"
    with path.open("w") as file:
        file.write("label," + ",".join(f"g{at}" for at in range(20_000)) + "\n")
        for at in range(12):
            file.write("ab"[at % 2] + "," + ",".join(map("{:.3f}".format, random.normal(size=20_000))) + "\n")
    dataset = open_dataset(path)
    assert len(dataset.examples[0].contents["row"].value.values) == 20_000
    prepared = Preparation(columns=dataset.examples[0].contents["row"].value.header.names)
    again = Preparation.from_json(prepared.fitted([one.contents["row"].value for one in dataset.examples]).to_json())
    record, _ = TABLE.load(dataset.examples[0].contents, again, None)
    assert record["values"].shape == (20_000,)


def test_dense_layers_are_cut_and_adapted_on_the_columns(tmp_path: Path) -> None:
    data, path = load_diabetes(), tmp_path / "diabetes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*data.feature_names, "progression", "split"])
        for at, (row, target) in enumerate(zip(data.data[:160], data.target, strict=False)):
            writer.writerow([*row, target, "test" if at >= 120 else "train"])
    recipe = Recipe(
        data=str(path), backbone="columns_mlp@random", task="regression", strategy="finetune", cut="dense.0", threads=1,
        views=2, options={"epochs": 2, "min_steps": 0}, source=Source(label_column="progression"),
    )  # fmt: skip
    *_, done = fit(recipe, tmp_path / "run")
    card = load(done.path).card
    assert (card.modality, card.width, card.preparation.columns) == ("table", 128, tuple(data.feature_names))
    assert done.report.strategy.frozen_stages == ("dense.0",)
    assert done.report.probe is not None


def test_a_network_of_images_is_refused_with_those_that_are_not(cancer: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"contains rows, but .* takes image data(?s:.*)columns@random"):
        list(fit(Recipe(data=str(cancer), backbone="googlenet:tiny@random"), tmp_path / "none"))
