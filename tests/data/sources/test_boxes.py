"""Boxes from COCO JSON and Pascal VOC: what is read, what is mended and told, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRequest
from regraft.modalities.image.augment import placement_of
from regraft.modalities.image.prepare import Preparation
from regraft.nn.boxes import in_example, in_view


def image(path: Path, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(path)


def voc(root: Path, boxes: dict[str, list[tuple[Any, ...]]], splits: dict[str, list[str]] | None = None) -> Path:
    for name, some in boxes.items():
        image(root / "JPEGImages" / f"{name}.jpg")
        objects = "".join(
            f"<object><name>{label}</name><difficult>{hard}</difficult><bndbox><xmin>{sides[0]}</xmin>"
            f"<ymin>{sides[1]}</ymin><xmax>{sides[2]}</xmax><ymax>{sides[3]}</ymax></bndbox></object>"
            for label, hard, *sides in some
        )
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>40</width><height>30</height></size>{objects}"
            "</annotation>"
        )
    for split, names in (splits or {}).items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def coco(path: Path, images: dict[str, list[tuple[Any, ...]]], folder: Path, **more: Any) -> Path:
    number, annotations = {name: at + 7 for at, name in enumerate(images)}, []
    for name, boxes in images.items():
        image(folder / name)
        for label, *sides in boxes:
            annotations.append({
                "id": len(annotations), "image_id": number[name], "category_id": {"cat": 1, "dog": 18}[label],
                "bbox": sides, "iscrowd": 0,
            })  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "info": {},
        "images": [{"id": at, "file_name": name, "width": 40, "height": 30} for name, at in number.items()],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": annotations, **more,
    }))  # fmt: skip
    return path


def boxes_of(dataset: Any) -> dict[str, list[tuple[str, list[float]]]]:
    return {one.id: [(box["label"], box["box"]) for box in json.loads(one.label)] for one in dataset.examples}


def test_voc_gives_boxes_with_the_splits_of_its_lists(tmp_path: Path) -> None:
    root = voc(
        tmp_path / "v",
        {"a": [("cat", 0, 1, 2, 20, 25)], "b": [("dog", 0, 3, 3, 9, 9), ("dog", 1, 5, 5, 30, 30)], "c": []},
        {"train": ["a", "c"], "test": ["b"]},
    )
    found = open_dataset(root)
    assert found.kind == "detection"
    assert found.classes == ("cat", "dog")
    assert boxes_of(found)["a.jpg"] == [("cat", [1, 2, 20, 25])]
    assert [one.split for one in found.examples] == ["train", "test", "train"]
    notes = " ".join(note.text for note in found.notes)
    assert "1 box is marked as difficult" in notes
    assert "1 image has no box" in notes


def test_what_is_wrong_with_boxes_is_named_and_mended(tmp_path: Path) -> None:
    wrong = [
        ("cat", 0, 20, 25, 1, 2), ("cat", 0, 1, 2, 20, 25), ("cat", 0, 5, 5, 5, 9), ("cat", 0, 50, 5, 60, 9),
        ("cat", 0, 30, 5, 60, 9),
    ]  # fmt: skip
    found = open_dataset(voc(tmp_path / "v", {"a": wrong, "b": [("dog", 0, 1, 1, 5, 5)]}))
    assert boxes_of(found)["a.jpg"] == [("cat", [1, 2, 20, 25]), ("cat", [30, 5, 40, 9])]
    notes = " ".join(note.text for note in found.notes)
    for what in ("swapped sides", "given twice", "empty", "outside the image", "extending beyond the image"):
        assert f"{what}" in notes
    assert notes.count("a.jpg") == 5


def test_coco_gives_the_same_boxes_from_a_file_or_a_folder_of_splits(tmp_path: Path) -> None:
    some = {"1.jpg": [("cat", 1, 2, 19, 23)], "2.jpg": [("dog", 3, 3, 6, 6), ("cat", 0, 0, 9, 9)]}
    alone = open_dataset(coco(tmp_path / "one" / "boxes.json", some, tmp_path / "one"))
    assert boxes_of(alone)["1.jpg"] == [("cat", [1, 2, 20, 25])]
    assert alone.kind == "detection"
    root = tmp_path / "two"
    for split in ("train", "val"):
        coco(root / "annotations" / f"instances_{split}.json", some, root / split)
    found = open_dataset(root)
    assert [one.id for one in found.examples] == ["train/1.jpg", "train/2.jpg", "val/1.jpg", "val/2.jpg"]
    assert found.splits == ("train", "val")
    for split in ("train", "valid", "test"):
        coco(tmp_path / "three" / split / "_annotations.coco.json", some, tmp_path / "three" / split)
    assert open_dataset(tmp_path / "three").splits == ("train", "val", "test")


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = coco(tmp_path / "boxes.json", {"1.jpg": [("cat", 1, 2, 19, 23)]}, tmp_path)
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(BadData, match=r"1 image of boxes\.json not found.*1\.jpg"):
        open_dataset(path)


def test_a_category_that_is_not_listed_is_named(tmp_path: Path) -> None:
    path = coco(tmp_path / "b.json", {"1.jpg": [("cat", 1, 2, 19, 23)]}, tmp_path, categories=[])
    with pytest.raises(BadData, match=r"annotation 0 is .*the category_id of a listed category"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("place", "odd"),
    [
        ("annotations", {"bbox": [None, 1, 2, 3]}), ("annotations", {"bbox": 3}), ("annotations", {"image_id": []}),
        ("annotations", {"category_id": {}}), ("annotations", {"bbox": [10**400, 1, 2, 3]}), ("annotations", None),
        ("images", {"width": "wide"}), ("images", {"id": []}), ("images", 7), ("categories", {"id": []}),
        ("categories", "cat"),
    ],
)  # fmt: skip
def test_a_record_of_coco_that_is_none_is_named(place: str, odd: object, tmp_path: Path) -> None:
    path = coco(tmp_path / "b.json", {"1.jpg": [("cat", 1, 2, 19, 23)]}, tmp_path)
    tree = json.loads(path.read_text())
    tree[place][0] = tree[place][0] | odd if isinstance(odd, dict) else odd
    path.write_text(json.dumps(tree))
    with pytest.raises(BadData, match=f"{place.removesuffix('ies').removesuffix('s')}.* 0 is .*; expected"):
        open_dataset(path)


def test_boxes_are_no_classes(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [("cat", 0, 1, 2, 20, 25)]})
    with pytest.raises(BadRequest, match="for a detection task"):
        open_dataset(root, task="classification")


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (37, 37), (200, 3)])
def test_a_letterbox_shows_the_whole_image_and_says_where(size: tuple[int, int]) -> None:
    prepared = Preparation(input_px=(32, 32), resize_px="letterbox")
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2] = 255
    box = prepared.centre(*size)
    cut = prepared.cut(Image.fromarray(pixels), box)
    assert cut.shape == (32, 32, 3)
    inside = (cut != 128).any(2)
    assert inside.any(0).sum() == 32 or inside.any(1).sum() == 32
    placed = placement_of(box)
    whole = np.array([[0.0, 0.0, *size]])
    moved, seen = in_view(whole, placed["box"], placed["flips"])
    assert seen.all()
    left, top, right, bottom = np.rint(moved[0] * 32).astype(int)
    assert inside[top:bottom, left:right].mean() > 0.9
    assert inside.sum() <= (right - left) * (bottom - top)
    assert in_example(moved, placed["box"]) == pytest.approx(whole, abs=1e-3)
    turned, _ = in_view(whole / 2, placed["box"], np.array([True, True]))
    plain, _ = in_view(whole / 2, placed["box"], np.array([False, False]))
    assert turned == pytest.approx(1 - plain[:, [2, 3, 0, 1]])
