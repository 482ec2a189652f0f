"""The table `predictions.csv` of a run or of a later test: written, and read back.

Letters in shapes: n examples, c outputs.

The columns `label` and `predicted` hold a class; tags, a semicolon between them (a backslash before one that belongs to
a name); or numbers, a semicolon between them. One column per output follows: `p:NAME` the probability of a class or
tag, `v:NAME` a number. Of records both columns hold JSON, and no column follows.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from regraft.errors import RunError
from regraft.evaluation.confusion import predicted_labels
from regraft.records import to_json

_FIXED = ("part", "id", "group", "label", "predicted")
_SEPARATOR = re.compile(r"(?<!\\)((?:\\\\)*);")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a model said of one example: a line of the table."""

    part: str
    """`test`, `cross-validation` or `validation`."""
    id: str
    """The example."""
    group: str
    """Its group; empty where there is none."""
    target: Shaped[np.ndarray, "..."]
    """What was right, as metrics take it: the class's number, 0 or 1 for every tag, or the numbers."""
    outputs: Any
    """What the model said: probabilities or numbers (c), or a record."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a model said of the examples of one part."""

    part: str
    """`test`, `cross-validation` or `validation`."""
    kind: str
    """The kind of task."""
    ids: tuple[str, ...]
    """The examples, each once."""
    groups: tuple[str, ...]
    """Their groups; empty where there is none."""
    labels: tuple[str, ...]
    """Their labels, as the table has them."""
    classes: tuple[str, ...]
    """Names of the outputs, in the order of the columns of `outputs`."""
    targets: Shaped[np.ndarray, "n ..."]
    """The labels as metrics take them."""
    outputs: Float[np.ndarray, "n c"]
    """Probability of every class or tag, or every number."""

    def in_order(self, ids: Sequence[str], classes: Sequence[str]) -> "Predictions":
        """The same with rows and columns in this order, every one of them being there."""
        row_of = {one: at for at, one in enumerate(self.ids)}
        rows, columns = [row_of[one] for one in ids], [self.classes.index(name) for name in classes]
        targets = self.targets[rows]
        return replace(
            self,
            ids=tuple(ids),
            groups=tuple(self.groups[at] for at in rows),
            labels=tuple(self.labels[at] for at in rows),
            classes=tuple(classes),
            targets=np.argsort(columns)[targets] if targets.ndim == 1 else targets[:, columns],
            outputs=self.outputs[rows][:, columns],
        )


def predictions_table(kind: str, classes: Sequence[str], answers: Iterable[Answer]) -> str:
    """One line per answer of a task of this kind: part, id, group, label, predicted label, outputs."""
    prefix, decimals = ("v:", ".9g") if kind == "regression" else ("p:", ".6f")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_FIXED, *(f"{prefix}{name}" for name in classes)])
    for one in answers:
        label, predicted = _told(kind, classes, one.target, one.outputs)
        outputs = (f"{value:{decimals}}" for value in (one.outputs.tolist() if classes else ()))
        writer.writerow([one.part, one.id, one.group, label, predicted, *outputs])
    return buffer.getvalue()


def read_predictions(path: Path, part: str, kind: str = "classification") -> Predictions:
    """The rows of one part of the table at `path`, of a task of this kind.

    Raises:
        RunError: the table is missing, is not one that regraft wrote, or has no row of this part.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header, rows = next(reader, []), [row for row in reader if row and row[0] == part]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="give the folder of a finished run.") from error
    prefix, named = "v:" if kind == "regression" else "p:", header[len(_FIXED) :]
    if tuple(header[: len(_FIXED)]) != _FIXED or not all(name.startswith(prefix) for name in named):
        raise _damaged(path, prefix, f"its columns are {', '.join(header) or 'missing'}")
    if not rows:
        raise RunError(f"{path} has no row of part {part}.", fix="give the folder of a finished run.")
    classes = tuple(name.removeprefix(prefix) for name in named)
    labels = tuple(row[3] if len(row) > 3 else "" for row in rows)
    try:
        table = np.array([row[len(_FIXED) :] for row in rows], dtype=np.float64)
        targets = _targets(kind, classes, labels)
    except ValueError as error:
        raise _damaged(path, prefix, str(error)) from error
    if table.shape[1] != len(named):
        raise _damaged(path, prefix, "a row is cut short")
    ids = tuple(row[1] for row in rows)
    if len(set(ids)) != len(ids):
        raise _damaged(path, prefix, "an example occurs twice in a part")
    return Predictions(
        part=part, kind=kind, ids=ids, groups=tuple(row[2] for row in rows), labels=labels, classes=classes,
        targets=targets, outputs=table,
    )  # fmt: skip


def _told(kind: str, classes: Sequence[str], target: Shaped[np.ndarray, "..."], outputs: Any) -> tuple[str, str]:
    """What was right and what was answered, as the table has them."""
    if not classes:
        right, said = (json.dumps(to_json(record)) for record in (target, outputs))
        return right, said
    if kind == "regression":
        return ";".join(map(_number, target.tolist())), ";".join(f"{value:.9g}" for value in outputs.tolist())
    if kind == "multilabel":
        chosen = (target > 0, predicted_labels(outputs[None])[0])
        label, predicted = (";".join(_escaped(classes[at]) for at in np.flatnonzero(tags).tolist()) for tags in chosen)
        return label, predicted
    return classes[int(target)], classes[int(np.argmax(outputs))]


def _targets(kind: str, classes: Sequence[str], labels: Sequence[str]) -> Shaped[np.ndarray, "n ..."]:
    """Labels as metrics take them. Raises: ValueError: a label is none of the outputs' names, or no number."""
    if kind == "regression":
        numbers = np.array([label.split(";") for label in labels], dtype=np.float64)
        if numbers.shape[1] != len(classes):
            raise ValueError(f"a label has {numbers.shape[1]} numbers for {len(classes)} columns")
        return numbers
    code = {name: at for at, name in enumerate(classes)}
    every = [_parted(label) if kind == "multilabel" else [label] for label in labels]
    if strangers := sorted({tag for tags in every for tag in tags} - set(code)):
        raise ValueError(f"there is no column for {strangers[0]!r}")
    if kind != "multilabel":
        return np.array([code[tags[0]] for tags in every], dtype=np.int64)
    table = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row, tags in zip(table, every, strict=True):
        row[[code[tag] for tag in tags]] = 1.0
    return table


def _number(value: float) -> str:
    """As short as it reads back to the same number."""
    return repr(value).removesuffix(".0")


def _escaped(tag: str) -> str:
    return tag.replace("\\", "\\\\").replace(";", "\\;")


def _parted(label: str) -> list[str]:
    """The tags of a label."""
    if not label:
        return []
    return [re.sub(r"\\(.)", r"\1", tag) for tag in _SEPARATOR.sub("\\1\0", label).split("\0")]


def _damaged(path: Path, prefix: str, found: str) -> RunError:
    wanted: Sequence[str] = (*_FIXED, f"{prefix}NAME …")
    return RunError(
        f"{path} is not a table of predictions as regraft writes it: {found}; expected are {', '.join(wanted)}.",
        fix="copy the run again, or make it again.",
    )
