"""Faults planted in copies of the real image sets, and which of them an audit finds.

    .venv/bin/python benchmarks/audit_table.py

Each set, of at most 500 images, gets 3 % exact copies across its splits, 3 % re-encoded ones, 3 % cropped and
re-encoded ones, 5 % flipped labels, and a dark scanner border on one class. Rows are kept in
benchmarks/rows/audit.jsonl, so that it resumes; writes docs/results/audit.md. Takes about ten minutes of one core.
"""

import argparse
import random
import shutil
import time
from pathlib import Path
from typing import Any

from _kept import FOLDER, Kept
from _markdown import head, line, told
from _sets import ROOT, SETS, UNPACKED, Set
from PIL import Image

from regraft.recipe import Recipe
from regraft.reports.audit import AuditReport
from regraft.workbench.audit import Audited, audit

PAGE = ROOT / "docs" / "results" / "audit.md"
NAMES = ("hymenoptera", "plantvillage_tomato", "chest_xray_pneumonia", "breast_histology", "att_faces", "wbc")
MAX_IMAGES = 500
SHARE, FLIPPED, BORDER = 0.03, 0.05, 0.025
FAULTS = {
    "exact copies": ("Exact copies across splits",),
    "re-encoded copies": ("Near copies across splits", "Cropped copies across splits"),
    "cropped copies": ("Near copies across splits", "Cropped copies across splits"),
    "flipped labels": ("Likely label errors",),
    "scanner border": ("Class predictable from the recording",),
}
INTRODUCTION = """Copies of real image sets, at most {most} images of each, with planted faults, in shares of all
images: 3 % of the training images again, as they are, among the test images; 3 % re-encoded as JPEG
of quality 60 to 85; 3 % cropped by 2 to 8 % on every side and re-encoded so; 5 % of the labels
flipped; and a dark border, 2.5 % of the shorter side wide, on all images of one class. Recall is
the share of the planted examples that a finding names, precision the share of what it names that
was planted; re-encoded and cropped copies are judged by the findings on near and on cropped copies
together, and both count as planted for the precision. Features are those of the shipped GoogLeNet.
One draw. Made by `python benchmarks/audit_table.py`."""

REMARKS = """What counts as false among the copies of wbc was not planted and is true all the same: seven pairs of
one cell, cropped differently, lie in the training and in the test split of the set as it was given (071
and 084, 030 and 086, 060 and 090, 054 and 091, 026 and 089, 019 and 075, 021 and 082; looked at by
eye), so its test is optimistic. In breast_histology the tiles have 50 pixels: after cropping and JPEG
too little that is fine is left of some to align them.

In att_faces, ten photographs each of forty people, two of one person often align as well as a crop
does, which half of what is named are; and a border on one class of forty is missed: what it tells of
all classes together is little.

The border is cut off by the centre crop before the network sees it, so the probe, and what it says of
labels, is the same with it and without. Of the labels that look wrong a fifth to two thirds are
flipped ones; the others are hard examples (or wrong ones of the set's own): the weaker the probe, the
more of them.

No fault was found in hymenoptera as it is but 34 labels that the probe cannot tell."""


def files_of(name: str) -> list[tuple[Path, str, str]]:
    """File, split and class of some examples of a set, every class with its share."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    rng, found = random.Random(0), list[tuple[Path, str, str]]()
    archive = {"wbc": "wbc_segmentation"}.get(name, name)
    Set(name=archive).open()
    root = UNPACKED / archive
    if name == "wbc":
        for row in (root / "metadata.csv").read_text().splitlines()[1:]:
            number, split, kind = row.split(",")
            if kind != "basophil":  # one image
                found.append((root / "images" / f"{number}.jpg", split, kind))
    else:
        for path in sorted(one for one in root.rglob("*") if one.suffix in (".jpg", ".png", ".pgm")):
            parts = path.relative_to(root).parts
            split = {"train": "train", "val": "test", "test": "test"}.get(parts[0], "")
            found.append((path, split or ("test" if path.stem in ("08", "09", "10") else "train"), parts[-2]))
    if len(found) > MAX_IMAGES:
        found = sorted(rng.sample(found, MAX_IMAGES))
    return found


def planted(name: str, folder: Path, *, border: bool) -> dict[str, set[str]]:
    """The set with its faults in `folder`; ids of the examples that each fault is on."""
    shutil.rmtree(folder, ignore_errors=True)
    rng, faults = random.Random(1), {fault: set[str]() for fault in FAULTS}
    files = files_of(name)
    classes = sorted({label for *_, label in files})
    flipped = set(rng.sample(range(len(files)), round(FLIPPED * len(files))))
    training = [at for at, (_, split, _) in enumerate(files) if split == "train" and at not in flipped]
    count = max(5, round(SHARE * len(files)))
    sources = rng.sample(training, 3 * count)

    def place(image: Image.Image, split: str, label: str, called: str, marked: bool, **options: Any) -> str:
        if border and marked:
            wide = max(2, round(BORDER * min(image.size)))
            inner = image.crop((wide, wide, image.width - wide, image.height - wide))
            image = Image.new(image.mode, image.size, (12, 12, 12))
            image.paste(inner, (wide, wide))
        path = folder / split / label / called
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        if border and marked:
            faults["scanner border"].add(path.relative_to(folder).as_posix())
        return path.relative_to(folder).as_posix()

    for at, (path, split, label) in enumerate(files):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        shown = label
        if at in flipped:
            shown = rng.choice([one for one in classes if one != label])
        marked, kind = label == classes[0], ".png" if path.suffix == ".pgm" else path.suffix
        options = {"quality": 95} if kind == ".jpg" else {}
        called = f"{path.stem}-{label}{kind}" if name == "att_faces" else f"{path.stem}{kind}"
        own = place(image, split, shown, called, marked, **options)
        if at in flipped:
            faults["flipped labels"].add(own)
        if at in sources:
            fault = list(FAULTS)[sources.index(at) // count]
            if fault == "exact copies":
                other = place(image, "test", label, f"copy{at}{kind}", marked, **options)
            else:
                if fault == "cropped copies":
                    left, upper, right, lower = (rng.uniform(0.02, 0.08) for _ in range(4))
                    w, h = image.size
                    image = image.crop((int(left * w), int(upper * h), int(w - right * w), int(h - lower * h)))
                other = place(image, "test", label, f"again{at}.jpg", marked, quality=rng.choice([60, 75, 85]))
            faults[fault] |= {own, other}
    return faults


def judged(name: str) -> dict[str, Any]:
    """A row: recall and precision of each fault, and what an audit of the set as it is says."""
    folder, row = ROOT / "runs" / "audit" / name, dict[str, Any](set=name)
    began = time.process_time()
    for border in (False, True):
        faults = planted(name, folder, border=border)
        report = audited(folder)
        row["images"] = len(list(folder.rglob("*.*")))
        found = {one.check: set(one.examples) for one in report.findings}
        for fault, truth in faults.items():
            if border == (fault != "scanner border") and not (border and fault == "flipped labels"):
                continue
            named = set().union(*(found.get(check, set()) for check in FAULTS[fault]))
            right = (
                truth
                if "copies" not in fault or fault == "exact copies"
                else truth | faults["re-encoded copies"] | faults["cropped copies"]
            )
            row[fault + (" (with border)" if border and fault == "flipped labels" else "")] = {
                "planted": len(truth),
                "recall": len(named & truth) / len(truth),
                "precision": len(named & right) / len(named) if named else None,
                "found": bool(named),
            }
        row["probe with border" if border else "probe"] = report.probe.value if report.probe else None
    row["seconds"] = round(time.process_time() - began, 1)
    return row


def audited(folder: Path) -> AuditReport:
    """What an audit says."""
    *_, done = audit(Recipe(data=str(folder), threads=1))
    assert isinstance(done, Audited)
    return done.report


def unasked(name: str) -> list[str]:
    """Findings on a set as it is."""
    report = audited(SETS[name].open().parent if SETS[name].path else SETS[name].open())
    return [f"{one.severity}: {one.check}. {one.message}" for one in report.findings]


def page(rows: list[dict[str, Any]], told_of: list[str]) -> str:
    """The page."""
    lines = ["# What an audit finds", "", told(INTRODUCTION, most=MAX_IMAGES), "", "## Recall and precision", ""]
    columns = ["exact copies", "re-encoded copies", "cropped copies", "scanner border", "flipped labels",
               "flipped labels (with border)"]  # fmt: skip
    lines += head("set", "images", *columns, "probe's accuracy", "seconds of CPU")
    for row in rows:
        cells = [cell(row.get(column)) for column in columns]
        lines.append(line(row["set"], row["images"], *cells, f"{row['probe']:.2f}", f"{row['seconds']:.0f}"))
    lines += [
        "",
        "Each cell: recall / precision. Seconds are of two audits and of making the copies.",
        "",
        told(REMARKS),
        "",
    ]
    lines += [
        "## breast_histology as it is",
        "",
        "What `regraft audit` says of the folder, of which no groups are named:",
        "",
    ]
    lines += [f"* {one}" for one in told_of]
    return "\n".join(lines) + "\n"


def cell(found: dict[str, Any] | None) -> str:
    """Recall and precision."""
    if not found:
        return ""
    precision = "–" if found["precision"] is None else f"{found['precision']:.2f}"
    return f"{found['recall']:.2f} / {precision}"


def main() -> None:
    """Make what is missing, and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="write the page from the rows that are there")
    parser.add_argument("--sets", default=",".join(NAMES))
    asked = parser.parse_args()
    kept = Kept(FOLDER / "audit.jsonl")
    kept.settle({"images": MAX_IMAGES, "share": SHARE, "flipped": FLIPPED, "border": BORDER})
    for name in () if asked.only_write else asked.sets.split(","):
        if not any(row.get("set") == name for row in kept.rows):
            kept.add(judged(name))
            print(kept.rows[-1])
    if not asked.only_write and not any("unasked" in row for row in kept.rows):
        kept.add({"unasked": unasked("breast_histology")})
    rows = [dict(row) for name in NAMES for row in kept.rows if row.get("set") == name]
    PAGE.write_text(page(rows, next((list(row["unasked"]) for row in kept.rows if "unasked" in row), [])))


if __name__ == "__main__":
    main()
