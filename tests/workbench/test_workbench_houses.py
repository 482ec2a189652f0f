"""Prices of real houses from a picture: the whole way, where the shared data and weights are."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.recipe import Recipe, Source, Target
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone


@pytest.mark.slow
def test_a_front_says_more_of_a_price_than_nothing_does(
    unpacked: Callable[[str], Path], shared_weights: Path, tmp_path: Path
) -> None:
    source = Source(path_column="image", folder="images", label_column="price_usd")
    recipe = Recipe(
        data=str(unpacked("house_prices") / "houses.csv"),
        backbone=f"googlenet:torchvision@file:{shared_weights / 'googlenet-short.pth'}",
        input_px=64,
        task="regression",
        source=source,
        target=Target(transform="log"),
    )
    *_, done = fit(recipe, tmp_path / "run")
    assert isinstance(done, RunDone)
    with (done.path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert len(rows) == 134
    price, said = (np.log([float(row[name]) for row in rows]) for name in ("label", "v:price_usd"))
    assert np.corrcoef(price, said)[0, 1] > 0.3
    found = done.report.evaluation["test"].metrics
    assert found["mae"].low < found["mae"].value < found["mae"].high
    assert found["r2"].low < found["r2"].high
