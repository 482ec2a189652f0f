"""Images with masks are read from folders and tables; what is wrong with a mask is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.errors import BadData
from regraft.tasks.masks import IGNORED

GRID = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 2, 2, 255]], dtype=np.uint8)


def put(root: Path, name: str, mask: Any = GRID, size: tuple[int, int] = (4, 3), ending: str = "") -> None:
    """An image of noise and its mask."""
    for folder in ("images", "masks"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{name}.jpg")
    if mask is not None:
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(root / "masks" / f"{name}{ending}.png")


def grid_of(dataset: Any, at: int = 0) -> list[list[int]]:
    (mask,) = TASKS.get("segmentation")(dataset.classes).encode([dataset.examples[at].label])
    return mask.grid().tolist()


def test_a_folder_is_read_with_its_masks_and_what_255_means_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", ending="_mask")
    found = open_dataset(tmp_path)
    assert (found.kind, found.classes) == ("segmentation", ("0", "1", "2"))
    assert [one.id for one in found.examples] == ["images/a.jpg", "images/b.jpg"]
    assert grid_of(found) == GRID.tolist()
    notes = " ".join(note.text for note in found.notes)
    assert "named after the mask values" in notes
    assert "Pixels with the mask value 255 are ignored (2 pixels)" in notes


def test_masks_of_0_and_255_have_two_classes(tmp_path: Path) -> None:
    put(tmp_path, "a", np.where(GRID > 0, 255, 0).astype(np.uint8))
    found = open_dataset(tmp_path)
    assert found.classes == ("0", "255")
    assert IGNORED not in np.array(grid_of(found))


@pytest.mark.parametrize("kind", ["palette", "colours", "grey as colours"])
def test_palettes_and_colours_are_classes_that_a_file_names(kind: str, tmp_path: Path) -> None:
    palette = Image.fromarray(np.where(GRID == 255, 3, GRID).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    lines = {"palette": ("0", "1", "2", "3"), "colours": ("0,0,0", "255,0,0", "0,255,0", "0,0,255")}.get(kind)
    if kind == "grey as colours":
        palette, lines = Image.fromarray(GRID).convert("RGB"), ("0", "1", "2", "255")
    put(tmp_path, "a", palette.convert("RGB") if kind == "colours" else palette)
    names = ("ground", "plasm", "nucleus", "ignore")
    (tmp_path / "classes.txt").write_text("\n".join(f"{line} {name}" for line, name in zip(lines, names, strict=True)))
    found = open_dataset(tmp_path)
    assert found.classes == ("ground", "nucleus", "plasm")
    number = {0: 0, 1: 2, 2: 1, 255: IGNORED}
    assert grid_of(found) == [[number[value] for value in row] for row in GRID.tolist()]


def test_splits_are_folders_or_stand_in_a_table_beside_them(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / "one" / split, "a")
        put(tmp_path / "two", f"{split}/b")
        put(tmp_path / "three", split)
    (tmp_path / "three" / "metadata.csv").write_text("id,split,group\ntrain,train,p1\ntest,test,p2\n")
    for root in ("one", "two", "three"):
        assert sorted(str(one.split) for one in open_dataset(tmp_path / root).examples) == ["test", "train"], root
    found = open_dataset(tmp_path / "three")
    assert {one.group for one in found.examples} == {"p1", "p2"}
    assert any("read from metadata.csv" in note.text for note in found.notes)
    (tmp_path / "three" / "metadata.csv").write_text("id,split\ntrain,train\n")
    with pytest.raises(BadData, match=r"metadata.csv does not list 1 image.*test.jpg"):
        open_dataset(tmp_path / "three")


def test_a_table_names_images_and_masks(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b")
    lines = ["image,mask,split", *(f"images/{one}.jpg,masks/{one}.png,train" for one in "ba")]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    found = open_dataset(tmp_path / "table.csv")
    assert [(one.id, one.row) for one in found.examples] == [("images/b.jpg", 2), ("images/a.jpg", 3)]
    assert (found.kind, grid_of(found)) == ("segmentation", GRID.tolist())
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(BadData, match=r"1 mask not found: masks/a\.png"):
        open_dataset(tmp_path / "table.csv")


def test_what_is_wrong_with_masks_is_named(tmp_path: Path) -> None:
    for name in ("size", "missing", "value", "many", "jpeg", "torn", "float"):
        put(tmp_path / name, "a")
    put(tmp_path / "size", "b", size=(5, 3))
    put(tmp_path / "missing", "b", None)
    (tmp_path / "value" / "classes.txt").write_text("0 ground\n1 plasm\n255 ignore\n")
    put(tmp_path / "many", "b", Image.fromarray(np.arange(400).reshape(20, 20).astype(np.uint16)), (20, 20))
    Image.fromarray(GRID).save(tmp_path / "jpeg" / "masks" / "a.png", format="JPEG")
    (tmp_path / "torn" / "masks" / "a.png").write_bytes((tmp_path / "torn" / "masks" / "a.png").read_bytes()[:40])
    Image.fromarray(GRID.astype(np.float32)).save(tmp_path / "float" / "masks" / "a.png", format="TIFF")
    for name, told in {
        "float": r"a.png has pixels of mode F",
        "size": r"1 mask is of a different size.*b.png 4 x 3, its image 5 x 3",
        "missing": r"1 of 2 images have no mask or several: b.jpg has none",
        "value": r"classes.txt does not define some mask values: 2 \(4 pixels\); the first occurs in images/a.jpg",
        "many": r"b.png has 400 different values",
        "jpeg": r"a.png is a JPEG",
        "torn": r"The mask .*a.png cannot be read",
    }.items():
        with pytest.raises(BadData, match=told):
            open_dataset(tmp_path / name)


def test_masks_that_are_empty_and_masks_of_no_image_are_told_of(tmp_path: Path) -> None:
    put(tmp_path, "a")
    put(tmp_path, "b", np.zeros_like(GRID))
    Image.fromarray(GRID).save(tmp_path / "masks" / "c.png")
    notes = " ".join(note.text for note in open_dataset(tmp_path).notes)
    assert "1 mask is of one value throughout: images/b.jpg" in notes
    assert "1 mask without an image left out: c.png" in notes


def test_a_line_of_classes_that_is_none_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a")
    (tmp_path / "classes.txt").write_text("0 ground\nplasm\n")
    with pytest.raises(BadData, match="line 2 is 'plasm'; expected a value and a name"):
        open_dataset(tmp_path)


def test_an_image_that_lies_on_its_side_has_the_size_that_it_is_seen_in(tmp_path: Path) -> None:
    put(tmp_path, "a")
    image = Image.open(tmp_path / "images" / "a.jpg")
    exif = image.getexif()
    exif[274] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "images" / "a.jpg", exif=exif)
    assert json.loads(open_dataset(tmp_path).examples[0].label)["size"] == [3, 4]
