"""Writing examples as a table of files that `fit` can read. Shapes: n examples."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from regraft.contracts.example import Example, File
from regraft.errors import BadRequest
from regraft.files import write_text


def check_files(examples: Sequence[Example], path: Path) -> None:
    """Raise `BadRequest` if the examples cannot be written as a table of files and labels."""
    if path.suffix.lower() != ".csv":
        raise BadRequest(
            f"{path} does not end in .csv, but the split is written as a CSV table.",
            fix="name it clean.csv, for example.",
        )
    if any(len(one.contents) > 1 or not isinstance(one.content, File) for one in examples):
        raise BadRequest(
            "A split can only be written for data with one file per example.",
            fix="add a column `split` to your table yourself.",
        )


def write_manifest(
    examples: Sequence[Example], positions: Int[np.ndarray, " k"], splits: Shaped[np.ndarray, " n"],
    sets: Int[np.ndarray, " n"], path: Path,
) -> None:  # fmt: skip
    """Write the examples at `positions` with their splits, if there are any; examples of one set share a group."""
    text, folder = io.StringIO(newline=""), path.absolute().parent
    writer, split = csv.writer(text, lineterminator="\n"), bool((splits != "").any())
    writer.writerow(["path", "label", *(["split"] if split else []), "group"])
    sizes = np.bincount(sets[positions], minlength=int(sets.max()) + 1)
    for at in positions.tolist():
        file, number = examples[at].path, int(sets[at])
        shown = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
        group = f"set-{number}" if sizes[number] > 1 else ""
        writer.writerow([shown, examples[at].label, *([splits[at]] if split else []), group])
    write_text(path, text.getvalue())
