"""What an export reads, and what it says, of texts, recordings, rows of numbers, boxes and embeddings."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles.conftest import stripes
from bundles.delivery import bundle_of, said_by, with_module
from bundles.test_exports import exported
from problems import opened
from regraft.bundles.bundle import Bundle
from regraft.bundles.exporting import fed, head_outputs
from regraft.contracts.modality import MODALITIES
from regraft.errors import BadRequest
from regraft.modalities.table.prepare import Preparation
from texts import CONFIGS, folder_of


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def of_network(kind: str, folder: Path) -> Bundle:
    backbone = opened(f"transformers:{folder_of(kind, folder / 'net')}@pretrained")
    return bundle_of(backbone, "classification", folder / "model")


def heard(folder: Path, **changes: Any) -> Bundle:
    """An image network that hears; without a size in pixels it could not."""
    backbone = opened("googlenet:tiny@random", 64)
    card = MODALITIES.get("sound").bridged(backbone.card)
    prepared = replace(card.preparation, **changes)
    return bundle_of(replace(backbone, card=replace(card, preparation=prepared)), "classification", folder / "model")


def of_rows(folder: Path) -> Bundle:
    """Columns of very different sizes, one a million times as far from zero as it is wide."""
    prepared = Preparation(columns=("small", "wide, quoted", "far"), means=(0.01, -3e4, 1e6), deviations=(1e-3, 2e4, 1))
    backbone = opened("columns_mlp@random")
    from regraft.backbones.convert import drawn

    card = replace(backbone.card, preparation=prepared, config={"columns": 3})
    return bundle_of(drawn(backbone.family, card, 0), "classification", folder / "model")


def same_as_regraft(bundle: Bundle, folder: Path, path: Path) -> Any:
    """An export of the model, held to it on what a file holds and on the golden inputs; returns what is said there."""
    model = exported(bundle, "onnx", folder / "onnx")
    assert model.check() <= 1e-6
    for contents in bundle.modality.golden(5, bundle.card.preparation):
        ending, data = bundle.modality.filed(contents, bundle.card.preparation)
        pieces = bundle.prepare_pieces(contents)
        (given,) = model.inputs(written(folder / f"golden{ending}", data))
        record, wanted = model.prepare(given), fed(bundle, contents, pieces)
        assert all(np.array_equal(record[name], one, equal_nan=True) for name, one in wanted.items())
        found = model.outputs([record])
        for name, array in head_outputs(bundle, [pieces[0][0]]).items():
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-4 * np.abs(array).max())
    return said_by(folder / "onnx" / "predict.py", path)


@pytest.mark.parametrize("kind", ["bert", *(pytest.param(one, marks=pytest.mark.slow) for one in CONFIGS)])
def test_networks_of_texts_are_exported_for_texts_of_any_length(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    bundle, texts = of_network(kind, tmp_path), ["the apple lies there", "a hammer", ["my old saw", "the table"]]
    path = written(tmp_path / "texts.json", json.dumps(texts).encode())
    found = same_as_regraft(bundle, tmp_path, path)
    for one, wanted in zip(found, bundle.predict([texts[0], texts[1], tuple(texts[2])]), strict=True):
        assert one["label"] == wanted.label
        assert one["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)
    (said,) = said_by(tmp_path / "onnx" / "predict.py", written(tmp_path / "one.txt", texts[0].encode()))
    assert said["probabilities"] == found[0]["probabilities"]


def test_recordings_are_read_resampled_and_made_spectrograms_of_without_regraft(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
    from sound.test_sound_features import tones, wav

    path = written(tmp_path / "tones.wav", wav(np.stack([tones(22050, 3.0), tones(22050, 3.0)[::-1]], 1), 22050))
    bundle = heard(tmp_path)
    (found,) = same_as_regraft(bundle, tmp_path, path)
    assert found["probabilities"] == pytest.approx(bundle.predict(path)[0].probabilities, abs=1e-5)
    with pytest.raises(BadRequest, match="several pieces"):
        exported(heard(tmp_path / "pieces", step_seconds=0.5), "onnx", tmp_path / "refused")


def test_rows_are_standardised_inside_the_graph(tmp_path: Path) -> None:
    bundle = of_rows(tmp_path)
    rows = [[0.011, 5.0, 1e6 + 2], [0.0, "", 1e6 - 1.5], [9.0, -1e5, 999_999]]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("wide, quoted", "far", "small"), *((b, c, a) for a, b, c in rows)])
    found = same_as_regraft(bundle, tmp_path, tmp_path / "rows.csv")
    given = [np.array([np.nan if one == "" else one for one in row]) for row in rows]
    for at, (one, wanted) in enumerate(zip(found, bundle.predict(given), strict=True)):
        assert one["number"] == at
        assert one["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)
    lacking = written(tmp_path / "lacking.csv", b"small,far\n1,2\n")
    with pytest.raises(AssertionError, match=r"^$"):
        said_by(tmp_path / "onnx" / "predict.py", lacking)


def test_masks_are_what_the_model_says(tmp_path: Path) -> None:
    """Masks are made outside the graph, as large as the image; near the border of two classes a point may change."""
    bundle = with_module(
        opened_whole("googlenet:tiny@random"), "segmentation", ("a", "b", "c"), tmp_path / "model", 1.0
    )
    image = tmp_path / "wide.png"
    stripes(0, 1, size=90).resize((150, 60)).save(image)
    (found,), (wanted,) = same_as_regraft(bundle, tmp_path, image), bundle.predict(image)
    assert found["record"]["size"] == [60, 150]
    task = bundle.model.task
    assert (task.marks(found["record"]).numbers == task.marks(wanted.record).numbers).mean() > 0.99


@pytest.mark.parametrize("kind", ["verification", "detection"])
def test_embeddings_and_boxes_are_what_the_model_says(kind: str, tmp_path: Path) -> None:
    """Non-maximum suppression is inside the graph, by the standard operator; boxes are in pixels of the file."""
    spread = {"verification": 1.0, "detection": 0.1}[kind]
    bundle = with_module(opened_whole("googlenet:tiny@random"), kind, ("a", "b"), tmp_path / "model", spread)
    image = tmp_path / "wide.png"
    stripes(0, 1, size=90).resize((150, 60)).save(image)
    (found,), (wanted,) = same_as_regraft(bundle, tmp_path, image), bundle.predict(image)
    assert found["label"] == wanted.label
    near(found["record"], wanted.record)
    if kind == "detection":
        assert 0 < len(found["record"]) < 100
        assert max(one["box"][2] for one in found["record"]) > 100


def near(found: Any, wanted: Any) -> None:
    """Embeddings to a hundred thousandth; boxes of equal number, classes and places, to a tenth of a pixel."""
    assert len(found) == len(wanted)
    if not isinstance(wanted[0], dict):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        return
    of: list[Callable[[Any], Any]] = [lambda one: one["label"], lambda one: one["score"], lambda one: one["box"]]
    assert sorted(map(of[0], found)) == sorted(map(of[0], wanted))
    np.testing.assert_allclose(*(list(map(of[1], one)) for one in (found, wanted)), atol=1e-4)
    np.testing.assert_allclose(*(list(map(of[2], one)) for one in (found, wanted)), atol=0.1)


def opened_whole(spec: str) -> Any:
    """A backbone that sees the whole of an image."""
    backbone = opened(spec, 64)
    whole = MODALITIES.get("image").whole(backbone.card.preparation)
    return replace(backbone, card=replace(backbone.card, preparation=whole))
