"""Reconstruction of hidden cells: a network is pretrained on rows without labels, measured on others, and reused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from regraft.bundles.bundle import load
from regraft.contracts.metric import metric
from regraft.contracts.modality import MODALITIES, View
from regraft.contracts.task import TASKS
from regraft.errors import BadRecipe, BadRequest
from regraft.modalities.table import PRESETS
from regraft.modalities.table.prepare import Header, Preparation
from regraft.recipe import Recipe
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.export import export
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

TABLE = MODALITIES.get("table")
COLUMNS, TRAINED, ROWS = 12, 90, 130


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of two hidden factors, a cell empty, the last 40 for the test; their label is a number."""
    random = np.random.default_rng(0)
    factors = random.normal(size=(ROWS, 2))
    values = 50 + 10 * (factors @ random.normal(size=(2, COLUMNS)) + random.normal(0, 0.2, (ROWS, COLUMNS)))
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "split", *(f"gene{at}" for at in range(COLUMNS))])
        for at, row in enumerate(values.tolist()):
            cells = ["" if (at, column) == (3, 5) else value for column, value in enumerate(row)]
            writer.writerow([int(factors[at, 0] > 0), "train" if at < TRAINED else "test", *cells])
    return path


@pytest.fixture(scope="module")
def pretrained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    options = {"epochs": 25, "min_steps": 0, "lr": 1e-2}
    recipe = Recipe(
        data=str(table), task="reconstruction", backbone="columns_mlp@random", strategy="pretrain", threads=1,
        options=options,
    )  # fmt: skip
    *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / "pretrained")
    assert isinstance(done, RunDone)
    return done


def test_hidden_cells_of_new_rows_are_predicted_better_than_by_the_means(pretrained: RunDone) -> None:
    found = pretrained.report.evaluation["test"]
    share, error = found.metrics["hidden_r2"], found.metrics["hidden_mse"]
    assert found.main_metric == "hidden_r2"
    assert share.low is not None
    assert share.low > 0.2
    assert share.low < share.value < 1
    reference = found.figures.reference()
    assert reference is not None
    assert reference.metrics["hidden_r2"].value == 0
    assert share.value == pytest.approx(1 - error.value / reference.metrics["hidden_mse"].value)
    assert "the model is better" in reference.verdict
    assert "training means" in (pretrained.path / "report.md").read_text()


def test_labels_are_set_aside_and_means_are_of_training_rows_only(pretrained: RunDone, table: Path) -> None:
    prepared = load(pretrained.path).card.preparation
    assert prepared.columns == tuple(f"gene{at}" for at in range(COLUMNS))
    rows = [*csv.reader(table.read_text().splitlines())][1 : 1 + TRAINED]
    cells = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows], dtype=np.float32)
    np.testing.assert_allclose(prepared.means, np.nanmean(cells.astype(np.float64), axis=0))


def test_the_saved_model_is_measured_alike_elsewhere_and_export_says_that_it_cannot(
    pretrained: RunDone, table: Path, tmp_path: Path
) -> None:
    *_, done = evaluate(pretrained.path, table)
    assert isinstance(done, Evaluated)
    again, before = (one.evaluation["test"].metrics["hidden_r2"] for one in (done.report, pretrained.report))
    assert again.value == pytest.approx(before.value, abs=1e-6)
    (said, *_) = load(pretrained.path).predict(table)
    assert set(said.record) == {"squares", "of_means", "cells"}
    with pytest.raises(BadRequest, match="reconstruction model cannot be exported"):
        list(export(pretrained.path, "onnx", out=tmp_path / "out"))


@pytest.mark.parametrize("strategy", ["probe", pytest.param("partial", marks=pytest.mark.slow)])
def test_the_network_goes_on_as_a_backbone_that_is_shown_every_cell(
    pretrained: RunDone, table: Path, tmp_path: Path, strategy: str
) -> None:
    options = {} if strategy == "probe" else {"epochs": 2, "min_steps": 0}
    recipe = Recipe(
        data=str(table), backbone=f"bundle:{pretrained.path}", strategy=strategy, threads=1, options=options
    )
    *_, done = fit(recipe, tmp_path / "reused")
    assert isinstance(done, RunDone)
    assert not load(done.path).card.preparation.reconstructed
    assert done.report.evaluation["test"].metrics["accuracy"].value > 0.8


def test_other_cells_are_hidden_in_every_view_and_empty_ones_never() -> None:
    header = Header(tuple("abcdefghij"))
    values = np.arange(10, dtype=np.float32)
    values[3] = np.nan
    prepared = Preparation(columns=header.names, means=(0.0,) * 10, deviations=(1.0,) * 10)
    asked = TABLE.itself(prepared, "values")
    row = TABLE.of_rows(header.names, values[None])[0]
    view = View(number=1, seed=0, content="0", augmentation=PRESETS["none"])
    plain, again, first, second = (
        TABLE.load(row, asked, one) for one in (None, None, view, replace(view, number=2))
    )  # fmt: skip
    np.testing.assert_array_equal(plain[0]["values"], again[0]["values"])
    for record, placement in (plain, first, second):
        hidden = ~np.isnan(placement["truth"])
        assert hidden.sum() == 3  # of nine known ones, at a share of 0.3
        assert not hidden[3]
        np.testing.assert_array_equal(placement["truth"][hidden], values[hidden])
        np.testing.assert_array_equal(record["values"], np.where(hidden | np.isnan(values), 0, values))
    assert not np.array_equal(np.isnan(first[1]["truth"]), np.isnan(second[1]["truth"]))
    assert TABLE.itself(asked, "") == prepared
    assert TABLE.varies(PRESETS["none"], asked)
    assert asked.digest_fields() != prepared.digest_fields()


@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_row_keeps_a_cell_to_predict_the_others_from(known: int) -> None:
    prepared = Preparation(columns=("a", "b"), means=(0.0, 0.0), deviations=(1.0, 1.0), hidden=0.9)
    given, truth = prepared.shown(np.ones(2, dtype=np.float32), np.arange(2) < known, 0)
    assert (~np.isnan(truth)).sum() == (known == 2)
    assert (given == 0).sum() == (known == 2)


def test_the_loss_and_the_sums_are_of_hidden_cells_alone() -> None:
    task = replace(TASKS.get("reconstruction")(()), num_columns=3)
    output = np.array([[1.0, 5.0, 0.0], [9.0, 2.0, 0.5]], dtype=np.float32)
    truth = np.array([[3.0, np.nan, np.nan], [np.nan, 2.0, 1.0]], dtype=np.float32)
    loss = task.objective(np.zeros(2), balanced=False, smoothing=0.0)
    assert float(loss(torch.from_numpy(output), torch.from_numpy(truth))) == pytest.approx((4 + 0 + 0.25) / 3)
    sums = task.gathered([output[:1], output[1:]], np.arange(2), {"truth": truth})
    assert sums.tolist() == [
        {"squares": 4.0, "of_means": 9.0, "cells": 1.0}, {"squares": 0.25, "of_means": 5.0, "cells": 2.0}
    ]  # fmt: skip
    assert metric("hidden_r2").compute(np.zeros(2), sums) == pytest.approx(1 - 4.25 / 14)
    assert metric("hidden_mse").compute(np.zeros(2), sums) == pytest.approx(4.25 / 3)
    assert len(task.gathered([], np.zeros(0, dtype=np.int64), {})) == 0


def test_what_hides_nothing_says_so_by_name() -> None:
    with pytest.raises(BadRequest, match="predicts tokens of the input itself, and rows have none"):
        TABLE.itself(Preparation(), "tokens")
    for name in ("image", "text", "sound"):
        with pytest.raises(BadRequest, match="predicts values of the input itself"):
            MODALITIES.get(name).itself(None, "values")
    with pytest.raises(BadRecipe, match=r"hidden is 1\.0; it must be between 0 and 1"):
        Preparation(hidden=1.0)
