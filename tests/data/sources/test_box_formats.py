"""Boxes from YOLO folders and from tables with a row for each box."""

import json
from pathlib import Path

import pytest
from PIL import Image

from regraft.data.open import open_dataset
from regraft.errors import BadData


def image(path: Path, orientation: int = 1) -> None:
    """40 by 30 pixels as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30), (90, 90, 90)).save(path, exif=exif)


def labels(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def boxes(where: Path) -> dict[str, tuple[str | None, list[tuple[str, list[float]]]]]:
    """Split and boxes of every image."""
    found = open_dataset(where).examples
    return {one.id: (one.split, [(box["label"], box["box"]) for box in json.loads(one.label)]) for one in found}


@pytest.mark.parametrize("layout", ["images/{split}/{name}.jpg", "{split}/images/{name}.jpg"])
def test_yolo_boxes_are_fractions_of_the_upright_image(tmp_path: Path, layout: str) -> None:
    for split, name, orientation in (("train", "a", 1), ("train", "b", 6), ("val", "c", 1)):
        image(tmp_path / layout.format(split=split, name=name), orientation)
    at = {name: tmp_path / layout.format(split=split, name=name).replace("images", "labels").replace("jpg", "txt")
          for split, name in (("train", "a"), ("train", "b"), ("val", "c"))}  # fmt: skip
    labels(at["a"], "0 0.5 0.5 0.5 0.2", "1 0.1 0.1 0.1 0.1", "")
    labels(at["b"], "1 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: images/train\nnc: 2\nnames:\n  0: cat\n  1: dog\n")
    found = {Path(name).stem: one for name, one in boxes(tmp_path).items()}
    assert found["a"] == ("train", [("cat", [10.0, 12.0, 30.0, 18.0]), ("dog", [2.0, 1.5, 6.0, 4.5])])
    assert found["b"] == ("train", [("dog", [0.0, 0.0, 30.0, 40.0])]), "as the camera meant it: 30 wide, 40 high"
    assert found["c"] == ("val", []), "an image without a file of labels is background"


def test_yolo_without_names_or_with_outlines_says_so(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    labels(tmp_path / "labels" / "a.txt", "3 0.25 0.2 0.75 0.2 0.5 0.8")
    data = open_dataset(tmp_path)
    assert json.loads(data.examples[0].label) == [{"label": "3", "box": [10.0, 6.0, 30.0, 24.0]}]
    said = " ".join(note.text for note in data.notes)
    assert "Outlines are read as their bounding boxes." in said
    assert "the numbers of the classes are their names" in said
    labels(tmp_path / "labels" / "classes.txt", "a", "b", "c", "cyclist")
    assert json.loads(open_dataset(tmp_path).examples[0].label)[0]["label"] == "cyclist"


@pytest.mark.parametrize(
    ("line", "names", "said"),
    [
        ("0 0.5 0.5 0.5", "", "a.txt, line 2: '0 0.5 0.5 0.5' is not a box"),
        ("cat 0.5 0.5 0.5 0.5", "", "a.txt, line 2: 'cat 0.5 0.5 0.5 0.5' is not a box"),
        ("7 0.5 0.5 0.5 0.5", "names: [cat]", "a.txt, line 2: the class is 7; names are given for 0"),
        ("0 0.5 0.5 0.5 0.5", "names: 3", "data.yaml cannot be read"),
    ],
)
def test_what_is_no_yolo_is_named_with_file_and_line(tmp_path: Path, line: str, names: str, said: str) -> None:
    image(tmp_path / "images" / "a.jpg")
    labels(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5", line)
    if names:
        (tmp_path / "data.yaml").write_text(names)
    with pytest.raises(BadData) as caught:
        open_dataset(tmp_path)
    assert said in caught.value.message


def test_labels_of_yolo_without_their_image_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    for name in "ab":
        labels(tmp_path / "labels" / f"{name}.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(BadData) as caught:
        open_dataset(tmp_path)
    assert "1 image of" in caught.value.message
    assert "b.*" in caught.value.message


@pytest.mark.parametrize("edges", ["left,top,right,bottom", "xmin,ymin,xmax,ymax", "x1,y1,x2,y2"])
def test_a_table_may_have_a_row_for_each_box(tmp_path: Path, edges: str) -> None:
    for name in "abc":
        image(tmp_path / f"{name}.jpg")
    rows = (
        "a.jpg,cat,1,2,11,12,train,p1",
        "b.jpg,dog,0,0,50,20,train,p2",
        "a.jpg,dog,5,5,9,9,train,p1",
        "c.jpg,,,,,,val,p3",
    )
    (tmp_path / "boxes.csv").write_text("\n".join([f"path,label,{edges},split,group", *rows]))
    data = open_dataset(tmp_path / "boxes.csv")
    assert boxes(tmp_path / "boxes.csv") == {
        "a.jpg": ("train", [("cat", [1, 2, 11, 12]), ("dog", [5, 5, 9, 9])]),
        "b.jpg": ("train", [("dog", [0, 0, 40, 20])]),
        "c.jpg": ("val", []),
    }
    assert data.kind == "detection"
    assert [one.group for one in data.examples] == ["p1", "p2", "p3"]
    assert any("extending beyond the image, clipped to it: b.jpg" in note.text for note in data.notes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.jpg,cat,1,2,x,4,train", "row 3: left, top, right, bottom are '1', '2', 'x', '4'"),
        ("a.jpg,,1,2,3,4,train", "row 3: the box has no label"),
        ("a.jpg,cat,1,2,3,4,val", "row 3: a.jpg has a different split or group in an earlier row"),
        ("b.jpg,cat,1,2,3,4,train", "1 image of boxes.csv not found"),
    ],
)
def test_what_is_wrong_in_a_row_of_a_box_is_named(tmp_path: Path, row: str, said: str) -> None:
    image(tmp_path / "a.jpg")
    (tmp_path / "boxes.csv").write_text(f"path,label,left,top,right,bottom,split\na.jpg,cat,1,2,11,12,train\n{row}\n")
    with pytest.raises(BadData) as caught:
        open_dataset(tmp_path / "boxes.csv")
    assert said in caught.value.message
