"""The data that two commits are compared on: real sets, cut down to what two cores fit in minutes."""

import csv
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_of(archive: str, shared: Path, folder: Path) -> tuple[Path, bool]:
    """The reduced table of an archive, and whether its images are real; made in `folder` on first use."""
    home = folder / archive
    table, source = home / "table.csv", shared / f"{archive}.tar.gz"
    if not table.is_file():
        home.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            with tarfile.open(source) as opened:
                opened.extractall(folder, filter="data")
            rows = TABLES[archive](home)
        else:
            rows = drawn(home, numbers=archive == "house_prices")
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return table, source.is_file()


def first_of_each(rows: Sequence[dict[str, str]], keys: Sequence[str], count: int) -> list[dict[str, str]]:
    """The first `count` rows of every combination of these columns."""
    counted: dict[tuple[str, ...], int] = {}
    kept = []
    for row in rows:
        key = tuple(row[name] for name in keys)
        counted[key] = counted.get(key, 0) + 1
        if counted[key] <= count:
            kept.append(row)
    return kept


def breast(home: Path) -> list[dict[str, str]]:
    """Patches of twenty patients, six of each patient and label."""
    rows = [
        {"file": row["file"], "label": row["label"], "given_split": row["split"], "patient": f"p{row['patient_id']}"}
        for row in read_table(home / "metadata.csv")
    ]
    return first_of_each(rows, ("patient", "label"), 6)


def hymenoptera(home: Path) -> list[dict[str, str]]:
    """Ants and bees; the set's second half is cut into validation and test images."""
    rows = []
    for path in sorted(home.glob("*/*/*.jpg")):
        given, label = path.parts[-3:-1]
        split = "train" if given == "train" else ("val", "test")[len(rows) % 2]
        rows.append({"file": path.relative_to(home).as_posix(), "label": label, "given_split": split})
    return first_of_each(rows, ("given_split", "label"), 35)


def houses(home: Path) -> list[dict[str, str]]:
    """Prices in millions from front views."""
    rows = [
        {"file": f"images/{row['image']}", "given_split": row["split"], "target": str(int(row["price_usd"]) / 1e6)}
        for row in read_table(home / "houses.csv")
    ]
    return first_of_each(rows, ("given_split",), 70)


def faces(home: Path) -> list[dict[str, str]]:
    """Twelve people, six training, one validation and three test images of each."""
    return [
        {"file": path.relative_to(home).as_posix(), "label": person.name, "given_split": split}
        for person in sorted(home.glob("s*"))[:12]
        for path, split in zip(sorted(person.glob("*.pgm")), ["train"] * 6 + ["val"] + ["test"] * 3, strict=True)
    ]


TABLES = {"breast_histology": breast, "hymenoptera": hymenoptera, "house_prices": houses, "att_faces": faces}


def drawn(home: Path, *, numbers: bool) -> list[dict[str, str]]:
    """Images that are brighter the later they come, in noise, where there are no real ones."""
    random = np.random.default_rng(0)
    rows = []
    for at in range(120):
        share = random.random()
        pixels = random.integers(0, 128, (48, 48, 3)) + int(share * 127)
        Image.fromarray(pixels.astype(np.uint8)).save(home / f"{at:03d}.png")
        row = {
            "file": f"{at:03d}.png",
            "given_split": ("train", "train", "val", "test")[at % 4],
            "patient": f"p{at // 4}",
        }
        target = {"target": f"{share:.3f}"} if numbers else {"label": "light" if share > 0.5 else "dark"}
        rows.append(row | target)
    return rows
