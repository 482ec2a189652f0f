"""COCO's outlines are read as masks, and predicted boxes are written as COCO JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO

from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.data.sources import coco
from regraft.errors import BadData, BadRequest
from regraft.modalities.image.masks import outlined
from regraft.tasks.masks import IGNORED
from regraft.workbench.predict import files_of


def written(folder: Path, *annotations: dict[str, Any]) -> Path:
    """One image, 6 wide and 4 high, with these annotations."""
    Image.new("RGB", (6, 4)).save(folder / "a.png")
    told = {
        "images": [{"id": 7, "file_name": "a.png", "width": 6, "height": 4}],
        "annotations": [{"id": at, "image_id": 7, **one} for at, one in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}],
    }
    (folder / "data.json").write_text(json.dumps(told))
    return folder / "data.json"


def test_polygons_and_runs_become_masks_small_over_large_and_crowds_are_ignored(tmp_path: Path) -> None:
    nucleus = np.zeros((4, 6), dtype=np.uint8)
    nucleus[1, 1:3] = 1
    runs = reference.encode(np.asfortranarray(nucleus))["counts"].decode()
    crowd = [20, 4]  # the last column
    path = written(
        tmp_path,
        {"category_id": 2, "segmentation": {"size": [4, 6], "counts": runs}},
        {"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]},
        {"category_id": 1, "iscrowd": 1, "segmentation": {"size": [4, 6], "counts": crowd}},
    )
    found = open_dataset(path, task="segmentation")
    assert (found.kind, found.classes) == ("segmentation", ("background", "cell", "nucleus"))
    (mask,) = TASKS.get("segmentation")(found.classes).encode([found.examples[0].label])
    none = IGNORED
    assert mask.grid().tolist() == [
        [1, 1, 1, 1, 0, none], [1, 2, 2, 1, 0, none], [1, 1, 1, 1, 0, none], [0, 0, 0, 0, 0, none],
    ]  # fmt: skip
    assert open_dataset(written(tmp_path, {"category_id": 1, "bbox": [0, 0, 2, 2]})).kind == "detection"


@pytest.mark.parametrize("segmentation", [[[1, 2, 3]], {"size": [4, 6], "counts": [3]}, {"size": [4, 6]}, 5])
def test_an_outline_that_is_none_is_named(segmentation: Any, tmp_path: Path) -> None:
    path = written(tmp_path, {"category_id": 1, "segmentation": segmentation})
    with pytest.raises(BadData, match=r"data\.json: image 0 .*outlines as polygons, or as runs"):
        open_dataset(path, task="segmentation")


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_runs_are_read_as_by_pycocotools_and_polygons_nearly() -> None:
    random, overlaps = np.random.default_rng(0), []
    for _ in range(30):
        grid = random.random((13, 40)) > 0.7
        grid[:, 20:] = False
        runs = reference.encode(np.asfortranarray(grid.astype(np.uint8)))
        said = {"size": runs["size"], "counts": runs["counts"].decode()}
        assert (outlined(said, (13, 40)) == grid).all()
        angles, radii = np.sort(random.random(7) * 2 * np.pi), random.uniform(10, 40, 7)
        polygon = np.stack([60 + radii * np.cos(angles), 50 + radii * np.sin(angles)], 1).ravel().tolist()
        expected = reference.decode(reference.merge(reference.frPyObjects([polygon], 100, 120))) > 0
        inside = outlined([polygon], (100, 120))
        overlaps.append((inside & expected).sum() / (inside | expected).sum())
    assert np.mean(overlaps) > 0.97, "it counts pixels that a border touches in another way"


def test_predicted_boxes_are_written_for_our_reader_and_pycocotools(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    boxes = [
        {"label": "dog", "score": 0.9, "box": [1.0, 2.0, 31.5, 22.0]},
        {"label": "cat", "score": 0.1, "box": [0, 0, 9, 9]},
    ]
    told = coco.written({"a.png": TASKS.get("detection")(("cat", "dog")).boxed(boxes)}, ("cat", "dog"))
    (tmp_path / "found.json").write_text(json.dumps(told))
    (example,) = open_dataset(tmp_path / "found.json", learnable=False).examples
    assert json.loads(example.label) == [{"label": "dog", "box": [1.0, 2.0, 31.5, 22.0]}]
    assert COCO(tmp_path / "found.json").loadAnns([1])[0]["bbox"] == [1.0, 2.0, 30.5, 20.0]
    with pytest.raises(BadRequest, match="classification model are not written as COCO"):
        TASKS.get("classification")(("a", "b")).boxed([])


def test_of_images_beside_masks_the_images_alone_are_predicted(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / folder / "a.png")
    found, notes = files_of(tmp_path, "image")
    assert found == [tmp_path / "images" / "a.png"]
    assert "holds labels too" in notes[0].text
