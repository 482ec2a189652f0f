"""COCO JSON: a file with `images`, `annotations` and `categories`; or a folder in which the files of the splits lie:
`annotations/instances_train2017.json` beside `train2017/`, or `train/_annotations.coco.json` beside its images.

Source: Lin et al. 2014, arXiv:1405.0312; cocodataset.org/#format-data.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.contracts.example import Columns, DataSource, Found
from regraft.data.sources._boxes import Box, Boxes, field_of, read_json
from regraft.errors import BadData
from regraft.words import counted, named, splits_in

HEAD_BYTES = 4096
_KEYS = re.compile(rb'^\s*\{\s*"(info|licenses|images|annotations|categories|type)"\s*:')
HOLDS = (
    "*.json", "annotations/*.json", "train/*.coco.json", "valid/*.coco.json", "val/*.coco.json", "test/*.coco.json",
)  # fmt: skip


def accepts(path: Path) -> bool:
    """Whether `path` is a JSON file that begins as COCO's do, or a folder with such."""
    return bool(_files(path))


def open_source(path: Path, columns: Columns) -> Found:
    """The images with their boxes. Crowds are left out.

    Raises:
        BadData: a file cannot be read, lacks a field, or names an image that is not there; or a folder holds several
            files that are not named after splits.
    """
    files = _files(path)
    by_name = {f"{file.parent.name} {file.stem}": file for file in files}
    splits = splits_in(by_name)
    if len(files) > 1 and len(splits) < len(files):
        odd = [file.name for name, file in by_name.items() if name not in splits]
        raise BadData(
            f"{path} holds {len(files)} files of annotations, and the names of {named(odd)} do not say which split "
            "they are of.",
            fix="give one file, or names such as instances_train.json and instances_val.json.",
        )
    boxes, crowds = Boxes(where=path), 0
    for name, file in by_name.items():
        split = splits.get(name) if len(files) > 1 else None
        crowds += _read(file, Path(columns.folder), split, boxes)
    notes = [f"{counted(crowds, 'box of a crowd', 'boxes of crowds')} left out."] if crowds else []
    return boxes.found(notes)


def _files(path: Path) -> list[Path]:
    found = [path] if path.suffix.lower() == ".json" else []
    if path.is_dir():
        found = [file for pattern in HOLDS for file in sorted(path.glob(pattern))]
    return [file for file in found if file.is_file() and _begins(file)]


def _begins(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return _KEYS.match(opened.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _read(file: Path, folder: Path, split: str | None, boxes: Boxes) -> int:
    """Adds the images of one file; returns how many boxes of crowds were left out."""
    tree = read_json(file)
    names = {
        field_of(one, "id", f"{file.name}: a category"): str(field_of(one, "name", f"{file.name}: a category"))
        for one in field_of(tree, "categories", file.name)
    }
    of_image, crowds = dict[Any, list[Mapping[str, Any]]](), 0
    for at, one in enumerate(field_of(tree, "annotations", file.name)):
        where = f"{file.name}: annotation {one.get('id', at) if isinstance(one, Mapping) else at}"
        if one.get("iscrowd"):
            crowds += 1
            continue
        box, label = field_of(one, "bbox", where), field_of(one, "category_id", where)
        if label not in names or len(box) != 4:
            raise BadData(
                f"{where} has the category {label!r} and the box {box!r}; one of the categories, and left, top, width "
                "and height in pixels are expected.",
                fix="correct it.",
            )
        of_image.setdefault(field_of(one, "image_id", where), []).append(one)
    for image in field_of(tree, "images", file.name):
        name, number = str(field_of(image, "file_name", f"{file.name}: an image")), image.get("id")
        found = of_image.pop(number, [])
        edges = list[Box]()
        for one in found:
            left, top, width, height = map(float, one["bbox"])
            edges.append((names[one["category_id"]], left, top, left + width, top + height))
        size = (float(image["width"]), float(image["height"])) if image.get("width") and image.get("height") else None
        boxes.add(name if split is None else f"{split}/{name}", _image(file, folder, name), edges, size, split)
    if of_image:
        raise BadData(
            f"{file.name}: annotations of {counted(len(of_image), 'image')} that it does not list: {named(of_image)}.",
            fix="list the images, or take these annotations out.",
        )
    return crowds


def _image(file: Path, folder: Path, name: str) -> Path:
    """Where an image lies: in `folder`; beside the file; or in a folder beside its own that its name ends with."""
    if folder.name:
        return file.parent / folder / name
    beside = (file.parent, file.parent / "images", file.parent.parent / "images")
    called = file.parent.parent / re.sub(r"^(instances|annotations)_", "", file.stem)
    return next((one / name for one in (*beside, called) if (one / name).is_file()), file.parent / name)


ENTRY = DataSource(accepts=accepts, open=open_source)
"""COCO JSON."""
