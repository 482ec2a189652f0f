"""Pascal VOC: a folder with `Annotations/*.xml` beside `JPEGImages/` and, if there are splits,
`ImageSets/Main/{train,val,test}.txt`.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4. VOC counts pixels from 1; coordinates are used unchanged,
as in most readers, with an error of at most one pixel.
"""

from pathlib import Path
from xml.etree import ElementTree

from regraft.contracts.example import Columns, DataSource, Found
from regraft.data.sources._boxes import Box, Boxes
from regraft.errors import BadData
from regraft.words import counted, splits_in

HOLDS = ("Annotations/*.xml",)
FOLDERS = ("JPEGImages", "images", "Images", "")


def accepts(path: Path) -> bool:
    """Return whether `path` is a folder with XML files under `Annotations`."""
    return next(path.glob(HOLDS[0]), None) is not None


def open_source(path: Path, columns: Columns) -> Found:
    """Return the images with their boxes. Boxes marked as difficult are left out, as in VOC's evaluation.

    Raises:
        BadData: an annotation cannot be read, or its image does not exist.
    """
    boxes, hard = Boxes(where=path), 0
    images = next(path / name for name in FOLDERS if (path / name).is_dir())
    split_of, notes = _splits(path), list[str]()
    alone = 0
    for file in sorted((path / "Annotations").glob("*.xml")):
        split = split_of.get(file.stem)
        if split_of and split is None:
            alone += 1
            continue
        tree = _parsed(file)
        found, more = _boxes(file, tree)
        hard += more
        name = tree.findtext("filename") or f"{file.stem}.jpg"
        boxes.add(name, images / name, found, _size(file, tree), split)
    if alone:
        notes.append(f"{counted(alone, 'annotation')} in no list under ImageSets left out.")
    if hard:
        notes.append(f"{counted(hard, 'box is', 'boxes are')} marked as difficult and left out.")
    return boxes.found(notes)


def _splits(path: Path) -> dict[str, str]:
    """Return the split of each image listed under ImageSets/Main; the others take precedence over `trainval`."""
    lists = {file.stem: file for file in sorted((path / "ImageSets" / "Main").glob("*.txt"))}
    known = splits_in(lists)
    found = dict[str, str]()
    for name in sorted(known, key=lambda name: name != "trainval"):
        found |= {
            line.split()[0]: known[name]
            for line in lists[name].read_text("utf-8", "replace").splitlines()
            if line.strip()
        }
    return found


def _parsed(file: Path) -> ElementTree.Element:
    try:
        data = file.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # no entity is fetched or expanded
            raise BadData(f"{file} declares a document type.", fix="take the declaration out.")
        return ElementTree.fromstring(data)  # entities are refused above
    except (OSError, ElementTree.ParseError) as error:
        raise BadData(f"{file} cannot be read as XML ({error}).", fix="write the file again.") from error


def _size(file: Path, tree: ElementTree.Element) -> tuple[float, float] | None:
    """Return width and height in pixels, if known."""
    try:
        width, height = (float(tree.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    except ValueError as error:
        raise BadData(
            f"{file.name}: width and height in pixels are not both numbers.", fix="correct the annotation."
        ) from error
    return (width, height) if min(width, height) > 0 else None


def _boxes(file: Path, tree: ElementTree.Element) -> tuple[list[Box], int]:
    """Return the boxes, and the number of difficult ones left out."""
    found, hard = list[Box](), 0
    for at, one in enumerate(tree.iter("object")):
        if one.findtext("difficult", "0").strip() == "1":
            hard += 1
            continue
        try:
            sides = [float(one.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError as error:
            raise BadData(
                f"{file.name}: object {at + 1} has no bndbox with the numbers xmin, ymin, xmax and ymax.",
                fix="correct the annotation.",
            ) from error
        found.append(((one.findtext("name") or "").strip(), sides[0], sides[1], sides[2], sides[3]))
    return found, hard


ENTRY = DataSource(accepts=accepts, open=open_source)
"""Pascal VOC."""
