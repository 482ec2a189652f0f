"""Images with masks: a folder with `images/` beside `masks/`, where a mask has its image's name (possibly followed by
`_mask` or similar); or a table with the columns `image` (or `path`) and `mask`.

Splits are folders (`train/images/…`, or `images/train/…`), a column of the table, or a table beside the two folders
with a column `split` that names the images by `id`; the same for groups.

The values of a mask are its classes: grey values, indices of a palette, or colours. A file `classes.txt` beside the
folders or the table names them, one per line: `2 nucleus`, or `255,0,0 road`; pixels with the name `ignore` are
excluded. Without the file, classes are named by their values, and 255 is excluded unless 0 and 255 are the only values.

Images and masks may be volumes (NIfTI), which are read as slices (`modalities/image/volumes.py`): the slices of a
volume form a group, unless a table gives it another. A mask may be a DICOM file, whose stored values are its classes.
"""

import json
import re
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from regraft.contracts.example import Columns, DataSource, Example, Found, in_file
from regraft.data.archives import VOLUMES, is_volume, unpacked
from regraft.data.labels import MASK_ENDING
from regraft.data.sources import table
from regraft.data.sources._rows import header_of, read_table
from regraft.data.sources.folder import files_in, is_hidden
from regraft.errors import BadData
from regraft.values import Notice, notices
from regraft.words import counted, named, splits_in

HOLDS = ("masks", "*/masks", "*.csv", "*.tsv")
IMAGES, MASKS, COLUMN, CLASSES = "images", "masks", "mask", "classes.txt"
KEYS = ("id", "image", "path", "file", "name")
"""Columns that may name the images, in a table beside the two folders."""
IGNORE = "ignore"
USUAL = 255
"""Usual value of pixels to ignore, in grey masks and palettes."""
MOST = 255
"""Maximum number of classes."""
TASK = "segmentation"
FIX_VOLUME = "save the classes of the voxels as integers."


def accepts(path: Path) -> bool:
    """Return whether `path` contains the two folders, or is a table with a column of masks."""
    return COLUMN in header_of(path) if path.is_file() else bool(_parts(path))


def open_source(path: Path, columns: Columns) -> Found:
    """Return the images with their masks.

    Raises:
        BadData: an image has no mask, or one of another size; a mask cannot be read, or has a value that is not a
            class; or there are too many values to be classes.
    """
    if path.is_file():
        usual = "image" if columns.path_column == Columns.path_column and "image" in header_of(path) else ""
        column = COLUMN if columns.label_column == Columns.label_column else columns.label_column
        asked = replace(columns, path_column=usual or columns.path_column, label_column=column, unlabelled=False,
                        modality="image")  # fmt: skip
        found = table.open_source(path, asked)
        root = path.parent / columns.folder
        files = [root / one.label for one in found.examples]
        if missing := [one.label for one, file in zip(found.examples, files, strict=True) if not file.is_file()]:
            raise BadData(
                f"{path.name}: {counted(len(missing), 'mask')} not found: {named(missing)}.",
                fix=f"make the paths relative to {root}.",
            )
        return _read(path, path.parent / CLASSES, list(zip(found.examples, files, strict=True)), found.notes)
    pairs, notes = list[tuple[Example, Path]](), list[Notice]()
    for part, split in _parts(path).items():
        some, more = _paired(path, part, split)
        pairs += some
        notes += more
    told = _told(path, columns, pairs)
    return _read(path, path / CLASSES, told[0], (*notes, *told[1]))


def _parts(path: Path) -> dict[Path, str | None]:
    """Return the folders that contain the two, with their splits."""
    if (path / IMAGES).is_dir() and (path / MASKS).is_dir():
        return {path: None}
    inside = [one.parent for one in sorted(path.glob(f"*/{MASKS}")) if (one.parent / IMAGES).is_dir()]
    known = splits_in([one.name for one in inside])
    return {one: known[one.name] for one in inside} if len(known) == len(inside) else {}


def _paired(root: Path, part: Path, split: str | None) -> tuple[list[tuple[Example, Path]], list[Notice]]:
    """Return every image of a folder with its mask."""
    images, notes = _files(part / IMAGES)
    masks, more = _files(part / MASKS)
    of = dict[str, list[Path]]()
    for mask in masks:
        name = _name(mask, part / MASKS)
        for key in {name, MASK_ENDING.sub("", name)}:
            of.setdefault(key, []).append(mask)
    lacking = [image for image in images if len(of.get(_name(image, part / IMAGES), ())) != 1]
    if not images:
        raise BadData(f"{part / IMAGES} holds no images.", fix="put the images for the masks there.")
    if lacking:
        first = of.get(_name(lacking[0], part / IMAGES), [])
        told = f"{lacking[0].name} has {named(one.name for one in first) or 'none'}"
        raise BadData(
            f"{part}: {len(lacking):,} of {counted(len(images), 'image')} have no mask or several: {told}.",
            fix=f"put one mask with the image's name into {MASKS}/, or remove the image.",
        )
    tops = {image: image.relative_to(part / IMAGES).parts[0] for image in images if image.parent != part / IMAGES}
    known = splits_in(set(tops.values())) if len(tops) == len(images) else {}
    divided = len(known) == len(set(tops.values())) and bool(known)
    pairs = [
        (
            Example(
                id=image.relative_to(root).as_posix(), contents=in_file(image), label="",
                split=known[tops[image]] if divided else split,
            ),
            of[_name(image, part / IMAGES)][0],
        )
        for image in images
    ]  # fmt: skip
    used = {mask for _, mask in pairs}
    alone = [mask.name for mask in masks if mask not in used]
    text = f"{counted(len(alone), 'mask')} without an image left out: {named(alone)}."
    return pairs, [*notes, *more, *notices([text] if alone else [])]


def _files(folder: Path) -> tuple[list[Path], list[Notice]]:
    """Return the images in a folder, or its volumes, and notices about files left out."""
    images, notes = files_in(folder, "image")
    volumes = _volumes(folder)
    if volumes and images:
        raise BadData(
            f"{folder} contains {counted(len(images), 'image')} and {counted(len(volumes), 'volume')}.",
            fix="move one or the other elsewhere.",
        )
    return (volumes, []) if volumes else (images, notes)


def _volumes(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*.[nN][iI][iI]*") if is_volume(one) and not is_hidden(one.name))


def _name(file: Path, folder: Path) -> str:
    return _stem(file.relative_to(folder).as_posix())


def _stem(name: str) -> str:
    """Return a path without the ending of its file; a number, as in the names of DICOM files, is none."""
    ending = next((one for one in VOLUMES if name.lower().endswith(one)), PurePosixPath(name).suffix)
    return name if ending[1:].isdecimal() else name[: len(name) - len(ending)]


def _told(
    root: Path, columns: Columns, pairs: Sequence[tuple[Example, Path]]
) -> tuple[list[tuple[Example, Path]], list[Notice]]:
    """Return the pairs with the splits and groups from a table beside the folders."""
    for path in sorted((*root.glob("*.csv"), *root.glob("*.tsv"))):
        header = header_of(path)
        key = next((name for name in KEYS if name in header), "")
        if not key or not {columns.split_column, columns.group_column} & header:
            continue
        read = read_table(path, replace(columns, path_column=key, text_columns=(), unlabelled=True))
        stems = [_stem(PurePosixPath(cell.strip()).name) for cell in read.columns[key]]
        row_of = {stem: at for at, stem in enumerate(stems)}
        of = {one.id: _stem(PurePosixPath(one.id).name) for one, _ in pairs}
        if absent := [one.id for one, _ in pairs if of[one.id] not in row_of]:
            raise BadData(
                f"{path.name} does not list {counted(len(absent), 'image')} in the column {key!r}: {named(absent)}.",
                fix="add rows for them, or remove the table from the folder.",
            )
        splits = table.splits_of(path, read, columns)
        groups = read.columns.get(columns.group_column, [""] * len(stems))
        found = [
            (replace(one, split=splits[at] or one.split, group=groups[at].strip() or None, row=read.rows[at]), mask)
            for one, mask in pairs
            for at in [row_of[of[one.id]]]
        ]
        more = len(row_of) - len(set(of.values()))
        texts = [f"Splits and groups are read from {path.name}, which lists the images in the column {key!r}."]
        texts += [f"{counted(more, 'row')} of {path.name} without an image left out."] if more else []
        return found, list(notices(texts))
    return list(pairs), []


@dataclass
class _Seen:
    """Masks read so far."""

    examples: list[tuple[Example, dict[str, Any], list[int]]] = field(default_factory=list)
    """Each example with the size and indices of its label, and the values for these indices."""
    points: Counter[int] = field(default_factory=Counter)
    coloured: bool = False


def _read(path: Path, classes: Path, pairs: Sequence[tuple[Example, Path]], notes: Sequence[Notice]) -> Found:
    """Return the examples with their masks as labels."""
    from regraft.modalities.image.masks import size_of, values_of

    seen, wrong = _Seen(), list[str]()
    pairs, told = _in_slices(pairs)
    for example, file in pairs:
        values, coloured = values_of(file)
        size = size_of(example.path)
        if size is not None and size != values.shape:  # unreadable files are reported by the scan
            wrong.append(f"{file.name} {values.shape[1]} x {values.shape[0]}, its image {size[1]} x {size[0]}")
        known, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        found = known.tolist()
        if len(found) > MOST:
            raise BadData(
                f"{file} has {len(found):,} different values; the maximum is {MOST} classes.",
                fix="use a mask whose values are classes, not a photograph or instance numbers.",
            )
        text = b64encode(zlib.compress(places.astype(np.uint8).tobytes(), 6)).decode()
        said = {"size": list(values.shape), "mask": text}
        seen.examples.append((example, said, found))
        seen.points.update(dict(zip(found, counts.tolist(), strict=True)))
        seen.coloured |= coloured
    if wrong:
        raise BadData(
            f"{counted(len(wrong), 'mask is', 'masks are')} of a different size from the image: {named(wrong)}.",
            fix="save each mask with the width and height of its image.",
        )
    names, more = _names(classes, seen)
    more += told
    examples, empty = list[Example](), list[str]()
    for example, said, held in seen.examples:
        label = {**said, "classes": [names[value] for value in held]}
        examples.append(replace(example, label=json.dumps(label, ensure_ascii=False)))
        if len(held) == 1:
            empty.append(example.id)
    if empty:
        more.append(f"{counted(len(empty), 'mask is', 'masks are')} of one value throughout: {named(empty)}.")
    examples.sort(key=lambda one: (one.row or 0, one.id) if path.is_file() else (0, one.id))
    return Found(examples=tuple(examples), modality="image", task=TASK, notes=(*notes, *notices(more)))


def _in_slices(pairs: Sequence[tuple[Example, Path]]) -> tuple[list[tuple[Example, Path]], list[str]]:
    """Return the pairs with slices in place of volumes, and sentences about it."""
    from regraft.modalities.image.volumes import SHOWN, VALUES, apart

    found, blank, volumes = list[tuple[Example, Path]](), 0, 0
    for example, file in pairs:
        if is_volume(example.path) != is_volume(file):
            raise BadData(
                f"Of {example.id} and its mask {file.name}, only one is a volume.", fix="save both in one form."
            )
        if not is_volume(file):
            found.append((example, file))
            continue
        image, mask = unpacked(example.path), unpacked(file)
        if text := apart(image, mask):
            raise BadData(
                f"The mask {file} has another grid than its image {example.id}: {text}.",
                fix="resample the mask to the voxels of the image.",
            )
        if not (mask / VALUES).is_dir():
            raise BadData(f"The mask {file} has values other than integers from 0 to 65,535.", fix=FIX_VOLUME)
        slices, every = sorted((image / SHOWN).iterdir()), len(list((mask / VALUES).iterdir()))
        blank, volumes, case = blank + every - len(slices), volumes + 1, _stem(example.id)
        found += [
            (
                replace(example, id=f"{case}/{one.stem}", contents=in_file(one), group=example.group or case),
                mask / VALUES / one.name,
            )
            for one in slices
        ]
    told = f"{counted(volumes, 'volume')} read as {counted(len(found), 'slice')}, grouped by volume unless a table "
    told += "says otherwise, from copies in the cache, until `regraft cache --clear`."
    left = f"{counted(blank, 'slice')} of a single grey level left out."
    return found, [*([told] if volumes else []), *([left] if blank else [])]


def _names(path: Path, seen: _Seen) -> tuple[Mapping[int, str | None], list[str]]:
    """Return the class of each value, None for values to ignore; and the assumptions made."""
    if path.is_file():
        given = _given(path)
        if odd := {value: seen.points[value] for value in seen.points if value not in given}:
            first = next(one.id for one, _, values in seen.examples if set(values) & set(odd))
            told = named(f"{_value(value, seen)} ({counted(count, 'pixel')})" for value, count in odd.items())
            raise BadData(
                f"{path.name} does not define some mask values: {told}; the first occurs in {first}.",
                fix=f"add a line for each of them (VALUE NAME, or VALUE {IGNORE}), or correct the masks.",
            )
        return {value: None if name == IGNORE else name for value, name in given.items()}, []
    names: dict[int, str | None] = {value: _value(value, seen) for value in sorted(seen.points)}
    if len(names) > MOST:
        raise BadData(
            f"The masks together have {len(names):,} different values; the maximum is {MOST} classes.",
            fix=f"list the classes in {path.name}, and use masks of classes, not of instances.",
        )
    notes = [f"The classes are named after the mask values: {named(names.values(), 8)}; {path.name} can name them."]
    if not seen.coloured and USUAL in names and set(names) - {0, USUAL}:
        names[USUAL] = None
        notes.append(f"Pixels with the mask value {USUAL} are ignored ({counted(seen.points[USUAL], 'pixel')}).")
    return names, notes


def _value(value: int, seen: _Seen) -> str:
    return f"#{value:06x}" if seen.coloured else str(value)


def _given(path: Path) -> dict[int, str]:
    """Return the classes in `classes.txt`."""
    found = dict[int, str]()
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        said = re.fullmatch(r"\s*(\d+)(?:\s*,\s*(\d+)\s*,\s*(\d+))?[\s,:;]+(\S.*?)\s*", line)
        if said is None:
            raise BadData(
                f"{path} line {number} is {line[:40]!r}; expected a value and a name.",
                fix="write, for example, '2 nucleus' or '255,0,0 road'.",
            )
        parts = [int(part) for part in said.groups()[:3] if part is not None]
        found[sum(part << 8 * at for at, part in enumerate(reversed(parts)))] = said[4]
    return found


def images_in(path: Path) -> list[Path]:
    """Return the folders with the images of the masks."""
    return [part / IMAGES for part in _parts(path)]


def volumes_in(path: Path) -> list[Path]:
    """Return the volumes in the folders, to be read as slices before they are opened."""
    return [one for part in _parts(path) for inside in (IMAGES, MASKS) for one in _volumes(part / inside)]


ENTRY = DataSource(accepts=accepts, open=open_source, examples_in=images_in, archives_in=volumes_in)
"""Images with masks."""
