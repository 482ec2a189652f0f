"""YOLO: a folder with images and text files of labels: `images/train/a.jpg` and `labels/train/a.txt`, or
`train/images/a.jpg` and `train/labels/a.txt`; without splits `images/a.jpg` and `labels/a.txt`.

A line of labels is a box: the index of its class, then its centre, width and height as fractions of the image's width
and height. A line with more numbers is an outline, of which the bounding box is used. Class names come from a
`data.yaml` (`names`) or a `classes.txt`, in the folder or beside the labels. An image without a label file has no
boxes.

Source: docs.ultralytics.com/datasets/detect.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regraft.contracts.example import Columns, DataSource, Found
from regraft.contracts.modality import MODALITIES
from regraft.data.sources._boxes import Box, Boxes
from regraft.errors import BadData
from regraft.modalities.image.masks import size_of
from regraft.words import named, splits_in

HOLDS = ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt")
CLASSES = ("classes.txt", "obj.names")


def accepts(path: Path) -> bool:
    """Return whether `path` is a folder with label files whose first line is a box, or that are empty."""
    if not path.is_dir():
        return False
    files = (file for pattern in HOLDS for file in path.glob(pattern) if file.name not in CLASSES)
    file = next(files, None)
    if file is None:
        return False
    try:
        with file.open("rb") as opened:
            fields = opened.readline(4096).decode("utf-8", "replace").split()
    except OSError:
        return False
    return not fields or (len(fields) >= 5 and fields[0].isdecimal() and all(map(_is_number, fields[1:])))


def open_source(path: Path, columns: Columns) -> Found:
    """Return the images with their boxes.

    Raises:
        BadData: a line is not a box, its class has no name, or labels have no image.
    """
    boxes, names, told = Boxes(where=path), _names(path), set[str]()
    folders = [path / "images"] if (path / "images").is_dir() else sorted(path.glob("*/images"))
    by_folder = splits_in(
        {file.relative_to(folder).parts[0] for folder in folders for file in folder.glob("*/*")}
        | {folder.parent.name for folder in folders if folder.parent != path}
    )
    claims = MODALITIES.get("image").claims
    for folder in folders:
        labels, seen = folder.parent / "labels", set[Path]()
        for image in sorted(file for file in folder.rglob("*") if file.is_file() and claims(file.name, bytes)):
            below = image.relative_to(folder)
            split = by_folder.get(below.parts[0] if folder.parent == path else folder.parent.name)
            file = labels / below.with_suffix(".txt")
            seen.add(file)
            size = size_of(image)  # damaged images are left out later, with their boxes
            found = list(_boxes(file, names, size, told)) if size and file.is_file() else []
            sides = (size[1], size[0]) if size else None
            boxes.add(image.relative_to(path).as_posix(), image, found, sides, split)
        orphans = (file for file in labels.rglob("*.txt") if file not in seen and file.name not in CLASSES)
        boxes.missing += [str(folder / file.relative_to(labels).with_suffix(".*")) for file in sorted(orphans)]
    return boxes.found(sorted(told))


def _boxes(file: Path, names: dict[int, str], size: tuple[int, int], told: set[str]) -> Iterator[Box]:
    where, (height, width) = f"{file.parent.name}/{file.name}", size
    for at, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if not fields[0].isdecimal() or not all(map(_is_number, fields[1:])) or len(fields) % 2 == 0 or len(fields) < 5:
            raise BadData(
                f"{where}, line {at}: {line.strip()[:80]!r} is not a box.",
                fix="write the number of the class, then x and y of the centre, width and height, as fractions.",
            )
        if names and int(fields[0]) not in names:
            raise BadData(
                f"{where}, line {at}: the class is {fields[0]}; names are given for {named(map(str, names))}.",
                fix="correct the label, or add the name to data.yaml or classes.txt.",
            )
        label, numbers = names.get(int(fields[0]), fields[0]), list(map(float, fields[1:]))
        if not names:
            told.add("Without a data.yaml or classes.txt the numbers of the classes are their names.")
        if len(numbers) > 4:
            told.add("Outlines are read as their bounding boxes.")
            across, down = numbers[::2], numbers[1::2]
            yield label, min(across) * width, min(down) * height, max(across) * width, max(down) * height
        else:
            x, y, w, h = numbers
            yield label, (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height


def _names(path: Path) -> dict[int, str]:
    """Return the name of each class by its index; empty if there are none."""
    import yaml

    for file in sorted([*path.glob("*.yaml"), *path.glob("*.yml")]):
        try:
            found: Any = yaml.safe_load(file.read_text("utf-8"))
            names = found["names"] if isinstance(found, dict) and "names" in found else None
            if names is not None:
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
        except (OSError, RecursionError, TypeError, ValueError, yaml.YAMLError) as error:
            raise BadData(
                f"{file} cannot be read: {str(error)[:200]}", fix="give `names` as a list, or as number: name."
            ) from error
    for file in (path / folder / name for folder in ("", "labels") for name in CLASSES):
        if file.is_file():
            return dict(
                enumerate(line.strip() for line in file.read_text("utf-8", "replace").splitlines() if line.strip())
            )
    return {}


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


ENTRY = DataSource(accepts=accepts, open=open_source)
"""YOLO."""
