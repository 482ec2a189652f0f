"""The table `predictions.csv` of a run or of a later test: written, and read back.

Letters in shapes: n examples, c classes.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from regraft.data.dataset import Example
from regraft.errors import RunError

_FIXED = ("part", "id", "group", "label", "predicted")
_PREFIX = "p:"


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a model said of the examples of one part."""

    part: str
    """`test`, `cross-validation` or `validation`."""
    ids: tuple[str, ...]
    """The examples, each once."""
    groups: tuple[str, ...]
    """Their groups; empty where there is none."""
    labels: tuple[str, ...]
    """Their labels."""
    classes: tuple[str, ...]
    """Class names, in the order of the columns of `probabilities`."""
    probabilities: Float[np.ndarray, "n c"]
    """Probability of every class."""


def predictions_table(
    classes: Sequence[str], answers: Iterable[tuple[str, Example, Float[np.ndarray, "c"] | Sequence[float]]]
) -> str:
    """One line per answer (part, example, probabilities): part, id, group, label, predicted label, probabilities."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_FIXED, *(f"{_PREFIX}{name}" for name in classes)])
    for part, example, row in answers:
        predicted = classes[int(np.argmax(row))]
        writer.writerow(
            [part, example.id, example.group or "", example.label, predicted, *(f"{value:.6f}" for value in row)]
        )
    return buffer.getvalue()


def read_predictions(path: Path, part: str) -> Predictions:
    """The rows of one part of the table at `path`.

    Raises:
        RunError: the table is missing, is not one that regraft wrote, or has no row of this part.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header, rows = next(reader, []), [row for row in reader if row and row[0] == part]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="give the folder of a finished run.") from error
    if tuple(header[: len(_FIXED)]) != _FIXED or not all(name.startswith(_PREFIX) for name in header[len(_FIXED) :]):
        raise _damaged(path, f"its columns are {', '.join(header) or 'missing'}")
    if not rows:
        raise RunError(f"{path} has no row of part {part}.", fix="give the folder of a finished run.")
    try:
        table = np.array([row[len(_FIXED) :] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if table.shape[1] != len(header) - len(_FIXED):
        raise _damaged(path, "a row is cut short")
    ids = tuple(row[1] for row in rows)
    if len(set(ids)) != len(ids):
        raise _damaged(path, "an example occurs twice in a part")
    return Predictions(
        part=part,
        ids=ids,
        groups=tuple(row[2] for row in rows),
        labels=tuple(row[3] for row in rows),
        classes=tuple(name.removeprefix(_PREFIX) for name in header[len(_FIXED) :]),
        probabilities=table,
    )


def _damaged(path: Path, found: str) -> RunError:
    wanted: Sequence[str] = (*_FIXED, f"{_PREFIX}CLASS …")
    return RunError(
        f"{path} is not a table of predictions as regraft writes it: {found}; expected are {', '.join(wanted)}.",
        fix="copy the run again, or make it again.",
    )
