"""COCO JSON: a file with `images`, `annotations` and `categories`; or a folder with the files of the splits:
`annotations/instances_train2017.json` beside `train2017/`, or `train/_annotations.coco.json` beside its images.

Source: Lin et al. 2014, arXiv:1405.0312; cocodataset.org/#format-data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regraft.contracts.example import Columns, DataSource, Found
from regraft.data.sources._boxes import Boxes
from regraft.data.sources._outlines import Outlines
from regraft.errors import BadData
from regraft.files import head, json_tree
from regraft.words import counted, named, splits_in

_KEYS = re.compile(rb'^\s*\{\s*"(info|licenses|images|annotations|categories|type)"\s*:')
HOLDS = (
    "*.json", "annotations/*.json", "train/*.coco.json", "valid/*.coco.json", "val/*.coco.json", "test/*.coco.json",
)  # fmt: skip


def accepts(path: Path) -> bool:
    """Return whether `path` is a JSON file that begins like COCO's, or a folder with such files."""
    return bool(_files(path))


def open_source(path: Path, columns: Columns) -> Found:
    """Return the images with their boxes, without crowds; or, for a segmentation task, with masks of their outlines, in
    which crowds are ignored and all other pixels are background.

    Raises:
        BadData: a file cannot be read, lacks a field, or names an image that does not exist; or a folder has several
            files that are not named after splits.
    """
    files = _files(path)
    by_name = {f"{file.parent.name} {file.stem}": file for file in files}
    splits = splits_in(by_name)
    if len(files) > 1 and len(splits) < len(files):
        odd = [file.name for name, file in by_name.items() if name not in splits]
        raise BadData(
            f"{path} contains {len(files)} annotation files; the names of {named(odd)} do not indicate a split.",
            fix="pass a single file, or use names such as instances_train.json and instances_val.json.",
        )
    outlined = columns.task == Outlines.task
    boxes, crowds = Outlines(where=path) if outlined else Boxes(where=path), 0
    for name, file in by_name.items():
        split = splits.get(name) if len(files) > 1 else None
        crowds += _read(file, Path(columns.folder), split, boxes)
    notes = [f"{counted(crowds, 'crowd box', 'crowd boxes')} left out."] if crowds else []
    return boxes.found(notes)


def _files(path: Path) -> list[Path]:
    found = [path] if path.suffix.lower() == ".json" else []
    if path.is_dir():
        found = [file for pattern in HOLDS for file in sorted(path.glob(pattern))]
    return [file for file in found if file.is_file() and _KEYS.match(head(file))]


def _read(file: Path, folder: Path, split: str | None, boxes: Boxes) -> int:
    """Add the images of one file; return the number of crowd boxes left out."""
    categories, annotations, images = _lists(file)
    names, of_image, crowds = dict[Any, str](), dict[Any, list[Any]](), 0
    outlined = isinstance(boxes, Outlines)
    for at, one in enumerate(categories):
        with _told(one, f"{file.name}: category {at}", "an id and a name"):
            names[one["id"]] = str(one["name"])
    box = "an image_id, the category_id of a listed category, and "
    box += "a segmentation" if outlined else "a bbox of left, top, width and height in pixels"
    for at, one in enumerate(annotations):
        with _told(one, f"{file.name}: annotation {at}", box):
            if outlined:
                label = None if one.get("iscrowd") else names[one["category_id"]]
                of_image.setdefault(one["image_id"], []).append((label, one["segmentation"]))
                continue
            if one.get("iscrowd"):
                crowds += 1
                continue
            left, top, width, height = map(float, one["bbox"])
            edges = (names[one["category_id"]], left, top, left + width, top + height)
            of_image.setdefault(one["image_id"], []).append(edges)
    for at, one in enumerate(images):
        with _told(one, f"{file.name}: image {at}", "an id, a file_name and, if known, width and height in pixels"):
            name, found = str(one["file_name"]), of_image.pop(one.get("id"), [])
            sides = float(one.get("width") or 0), float(one.get("height") or 0)
        path, size = _image(file, folder, name), sides if min(sides) > 0 else None
        with _told(one, f"{file.name}: image {at}", "outlines as polygons, or as runs (RLE) of the image's size"):
            boxes.add(name if split is None else f"{split}/{name}", path, found, size, split)
    if of_image:
        raise BadData(
            f"{file.name}: its annotations refer to {counted(len(of_image), 'image')} that it does not list: "
            f"{named(of_image)}.",
            fix="list the images, or remove these annotations.",
        )
    return crowds


def _lists(file: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the categories, the annotations and the images of a file."""
    tree = json_tree(file)
    lists = [tree.get(name) for name in ("categories", "annotations", "images")]
    if not all(isinstance(one, list) for one in lists):
        raise BadData(
            f"{file} has no lists of images, annotations and categories.",
            fix="export the annotations again, as COCO JSON for detection.",
        )
    return lists[0], lists[1], lists[2]


@contextmanager
def _told(record: Any, where: str, wanted: str) -> Iterator[None]:
    """Name an invalid record in the error."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise BadData(f"{where} is {str(record)[:200]}; expected {wanted}.", fix="correct it.") from error


def _image(file: Path, folder: Path, name: str) -> Path:
    """Return the path of an image: in `folder` if that is given; otherwise beside the file, in `images`, or in the
    folder named after the file."""
    if folder.name:
        return file.parent / folder / name
    beside = (file.parent, file.parent / "images", file.parent.parent / "images")
    called = file.parent.parent / re.sub(r"^(instances|annotations)_", "", file.stem)
    return next((one / name for one in (*beside, called) if (one / name).is_file()), file.parent / name)


def written(boxes: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str]) -> dict[str, Any]:
    """Return predicted boxes by file name, each with `label`, `score` and `box`, in COCO's form with `score` beside its
    own fields. Images and categories are numbered from 1, in order."""
    number, annotations = {name: at for at, name in enumerate(classes, start=1)}, list[dict[str, Any]]()
    for image, some in enumerate(boxes.values(), start=1):
        for one in some:
            left, top, right, bottom = one["box"]
            width, height = round(right - left, 2), round(bottom - top, 2)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": number[one["label"]],
                "bbox": [left, top, width, height], "area": round(width * height, 2), "iscrowd": 0,
                "score": one["score"],
            })  # fmt: skip
    return {
        "images": [{"id": at, "file_name": name} for at, name in enumerate(boxes, start=1)],
        "annotations": annotations,
        "categories": [{"id": at, "name": name} for name, at in number.items()],
    }


ENTRY = DataSource(accepts=accepts, open=open_source)
"""COCO JSON."""
