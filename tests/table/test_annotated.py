"""AnnData files: what anndata wrote is read by h5py alone, dense and sparse, and wide files without strain."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="the extra `h5ad` is not installed")

from regraft.bundles.bundle import load  # noqa: E402
from regraft.contracts.example import Inline  # noqa: E402
from regraft.data.dataset import Dataset  # noqa: E402
from regraft.data.open import open_dataset  # noqa: E402
from regraft.errors import BadData, UnknownName  # noqa: E402
from regraft.recipe import Recipe  # noqa: E402
from regraft.values import Prediction  # noqa: E402
from regraft.workbench.fit import fit  # noqa: E402
from regraft.workbench.predict import predict  # noqa: E402

WRITTEN = Path(__file__).parent / "cells.h5ad"
"""By anndata 0.12.19: X as a compressed CSR matrix, obs with label (categories), patient (text) and n_counts."""
X = np.array(
    [[1, 0, 0, 4, 2], [1, 1, 2, 1, 0], [3, 5, 0, 2, 3], [1, 1, 2, 1, 2], [1, 1, 2, 0, 1], [0, 1, 1, 2, 4],
     [4, 2, 3, 1, 3], [3, 4, 2, 2, 0], [2, 1, 3, 1, 1], [2, 1, 1, 1, 3], [2, 2, 2, 2, 3], [1, 1, 2, 1, 1]],
    dtype=np.float32,
)  # fmt: skip


def numbers_of(found: Dataset) -> np.ndarray:
    contents = [one.content for one in found.examples]
    return np.stack([one.value.values for one in contents if isinstance(one, Inline)])


def other(path: Path, x: np.ndarray, **sparse: Any) -> Path:
    """The same file with X stored otherwise."""
    shutil.copy(WRITTEN, path)
    with h5py.File(path, "a") as file:
        del file["X"]
        if sparse:
            group = file.create_group("X")
            group.attrs.update({"encoding-type": "csc_matrix", "shape": x.shape})
            for name, array in sparse.items():
                group[name] = array
        else:
            file["X"] = x
    return path


def test_what_anndata_wrote_is_read(tmp_path: Path) -> None:
    found = open_dataset(WRITTEN, group_column="patient")
    assert (found.modality, found.kind, found.classes) == ("table", "classification", ("B", "T"))
    assert [one.label for one in found.examples[:3]] == ["T", "B", "T"]
    assert [one.group for one in found.examples[:3]] == ["p0", "p0", "p1"]
    np.testing.assert_array_equal(numbers_of(found), X)
    content = found.examples[0].content
    assert isinstance(content, Inline)
    assert content.value.header.names == tuple(f"GENE{at}" for at in range(5))
    by_columns = [np.flatnonzero(column) for column in X.T]
    columns = other(
        tmp_path / "columns.h5ad", X, data=np.concatenate([X[rows, at] for at, rows in enumerate(by_columns)]),
        indices=np.concatenate(by_columns), indptr=np.cumsum([0, *map(len, by_columns)]),
    )  # fmt: skip
    for path in (columns, other(tmp_path / "dense.h5ad", X)):
        np.testing.assert_array_equal(numbers_of(open_dataset(path)), X)


def test_a_probe_is_trained_on_it_and_predicts_files_without_labels(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    path = other(tmp_path / "train.h5ad", wide)
    with h5py.File(path, "a") as file:
        del file["obs/label"], file["var/_index"], file["obs/_index"]
        file["obs/_index"] = np.array([f"cell{at}" for at in range(40)], dtype=object)
        file["obs/label"] = np.where(wide[:, 0] > 0, "up", "down").astype(object)
        file["var/_index"] = np.array([f"g{at}" for at in range(7)], dtype=object)
    *_, _ = fit(Recipe(data=str(path), backbone="columns@random", threads=1, folds=3, max_repeats=1), tmp_path / "run")
    found = [one for one in predict(tmp_path / "run", [path]) if isinstance(one, Prediction)]
    assert [one.label for one in found] == [one.label for one in load(tmp_path / "run").predict(wide)]
    assert np.mean([one.label == ("up" if row[0] > 0 else "down") for one, row in zip(found, wide, strict=True)]) > 0.8


def test_columns_that_are_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"column of obs in cells\.h5ad.*'lable'"):
        open_dataset(WRITTEN, label_column="lable")
    (tmp_path / "cut.h5ad").write_bytes(WRITTEN.read_bytes()[:3000])
    with pytest.raises(BadData, match=r"cut\.h5ad cannot be read as AnnData"):
        open_dataset(tmp_path / "cut.h5ad")
    shutil.copy(WRITTEN, tmp_path / "old.h5ad")
    with h5py.File(tmp_path / "old.h5ad", "a") as file:
        del file["obs"]
    with pytest.raises(BadData, match=r"old\.h5ad cannot be read as AnnData"):
        open_dataset(tmp_path / "old.h5ad")


def test_twenty_thousand_columns_take_seconds(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).random((12, 20_000), dtype=np.float32)
    path = other(tmp_path / "wide.h5ad", wide)
    with h5py.File(path, "a") as file:
        del file["var/_index"]
        file["var/_index"] = np.array([f"ENSG{at:011}" for at in range(20_000)], dtype=object)
    began = time.process_time()
    np.testing.assert_array_equal(numbers_of(open_dataset(path)), wide)
    assert time.process_time() - began < 5
