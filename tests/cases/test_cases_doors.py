"""Paths in frames, arrays and tables: one rule at every door; and advice that fits the door."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import regraft
from data.pictures import folder_of
from regraft.bundles.bundle import Bundle
from regraft.doors._inputs import inputs_in
from regraft.doors.python import parameters_for_flags
from regraft.errors import BadData, BadRequest, RegraftError, UnknownName
from regraft.values import Prediction
from regraft.workbench.predict import predict

NAMES = [f"{label}/{at}.png" for label in ("cat", "dog") for at in range(3)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a model of them."""
    home = tmp_path_factory.mktemp("home")
    folder_of(home / "photos", NAMES)
    regraft.fit(home / "photos", backbone="googlenet:tiny@random", input_px=32, out=home / "m", quiet=True)
    return home


@pytest.fixture
def photos(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home / "photos")
    return home / "photos"


@pytest.fixture(scope="module")
def model(home: Path) -> Bundle:
    return regraft.load(home / "m")


GIVEN: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array of text": np.array,
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "array of bytes": lambda paths: np.array([path.encode() for path in paths]),
    "array of paths": lambda paths: np.array([Path(path) for path in paths], dtype=object),
    "column of an array": lambda paths: np.array(paths)[:, None],
    "column of a frame": lambda paths: pd.DataFrame({"path": paths})["path"],
    "frame of one column": lambda paths: pd.DataFrame({"image": paths}),
    "frame with labels": lambda paths: pd.DataFrame({"label": "cat", "path": paths}),
    "frame with capitals": lambda paths: pd.DataFrame({"Path": paths, "age": 3}),
}


@pytest.mark.parametrize("how", GIVEN)
def test_k19_paths_are_taken_by_every_door_from_whatever_holds_them(how: str, photos: Path, model: Bundle) -> None:
    given = GIVEN[how](NAMES)
    assert [one.id for one in model.predict(given)] == NAMES
    assert list(map(str, inputs_in(given) or ())) == NAMES


def test_k19_a_frame_without_paths_is_refused_with_its_columns(photos: Path, model: Bundle) -> None:
    frame = pd.DataFrame({"file": NAMES, "label": "cat"})
    with pytest.raises(UnknownName, match="no column in the data frame named 'path'") as caught:
        model.predict(frame)
    assert caught.value.fix == "pass one of its columns, for example frame['file']."
    assert inputs_in(frame) is None
    with pytest.raises(BadRequest, match="The inputs are a NoneType"):
        model.predict(None)


@pytest.mark.parametrize("text", ["path\n{}", "image\n{}", "label;path\n;{}", "sep=;\nlabel;path\ncat;{}"])
def test_k19_a_table_is_predicted_row_by_row_under_its_own_names(text: str, photos: Path, home: Path) -> None:
    head, _, row = text.rpartition("\n")
    cells = [name.removesuffix(".png") for name in NAMES]
    (photos / "t.csv").write_text("\n".join([head, *map(row.format, cells), ""]))
    found = [one for one in predict(home / "m", [Path("t.csv")]) if isinstance(one, Prediction)]
    assert [one.id for one in found] == cells
    assert all(one.label in ("cat", "dog") for one in found)
    assert len(regraft.load(home / "m").predict("t.csv")) == len(NAMES)


def test_k19_a_table_that_cannot_be_read_is_refused_in_prediction_as_in_training(photos: Path, home: Path) -> None:
    (photos / "t.csv").write_text("cat/0.png,cat\ndog/0.png,dog\n")
    with pytest.raises(BadData, match=r"The first line of t.csv is not a header"):
        list(predict(home / "m", [Path("t.csv")]))
    (photos / "t.csv").write_text("path\ngone.png\n")
    with pytest.raises(BadData, match="1 file of 1 cannot be found"):
        list(predict(home / "m", [Path("t.csv")]))


def test_k19_a_frame_is_fitted_as_a_table_of_the_same_columns_is(photos: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": NAMES, "sort": pd.Categorical([name[:3] for name in NAMES]), "age": [1.0, None] * 3})
    frame.to_csv(photos / "t.csv", index=False)
    table, opened = (regraft.open_dataset(data, label_column="sort") for data in ("t.csv", frame))
    assert [(one.id, one.label, one.path) for one in opened.examples] == [
        (one.id, one.label, one.path) for one in table.examples
    ]
    assert "save the data frame as a table" in " ".join(note.text for note in opened.notes)
    run = regraft.fit(
        frame,
        source={"label_column": "sort"},
        backbone="googlenet:tiny@random",
        input_px=32,
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.report.data.examples == len(NAMES)


@pytest.mark.parametrize("data", [NAMES, np.array(NAMES), None, 3])
def test_k19_what_cannot_be_fitted_is_refused_with_what_can(data: Any) -> None:
    for door in (lambda: regraft.fit(data), lambda: regraft.open_dataset(data)):
        with pytest.raises(BadRequest, match="a data frame with the columns path and label") as caught:
            door()
        assert "RegraftClassifier().fit(X, y)" in caught.value.fix


def advised(fix: str, own: set[str] | None = None) -> str:
    with pytest.raises(RegraftError) as caught, parameters_for_flags(own):
        raise BadRequest("no", fix=fix)
    return caught.value.fix


def test_advice_names_the_parameters_of_the_door_that_was_used(photos: Path) -> None:
    fix = "say --path-column, or --set source.folder=images, --seed or --set dtype=float32."
    own = {"random_state", "options"}
    assert advised(fix) == "say source={'path_column': …}, or source={'folder': 'images'}, `seed` or dtype='float32'."
    assert advised(fix, {"path_column", "folder", "seed"}).startswith(
        "say `path_column`, or folder='images', `seed` or "
    )
    assert (
        advised("lower it: --seed, --set options.lr=VALUE.", own) == "lower it: `random_state`, options={'lr': VALUE}."
    )
    assert advised("--set dtype=float32", own) == "regraft.fit(…, dtype='float32')"


def test_advice_of_open_dataset_and_fit_can_be_followed_as_it_stands(photos: Path) -> None:
    frame = pd.DataFrame({"path": NAMES, "sort": "x"})
    with pytest.raises(UnknownName, match="Set the name with `label_column`"):
        regraft.open_dataset(frame)
    with pytest.raises(UnknownName, match=r"Set the name with source=\{'label_column': …\}"):
        regraft.fit(frame)
