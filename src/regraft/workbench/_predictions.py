"""The table `predictions.csv` of a run or of a later evaluation: written, and read back.

Letters in shapes: n examples, c outputs.

The columns `label` and `predicted` hold labels as the task writes them: a class; labels or numbers with a semicolon
between them. One column per output follows: `p:NAME` the probability of a class or label, `v:NAME` a number.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.example import Example
from regraft.contracts.task import TASKS, Task
from regraft.errors import RegraftError, RunError

_FIXED = ("split", "id", "group", "label", "predicted")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a model predicted for the examples of one split."""

    task: Task
    """The task, which has the names of the outputs."""
    ids: tuple[str, ...]
    """The examples, each once."""
    groups: tuple[str, ...]
    """Their groups; empty where there is none."""
    labels: tuple[str, ...]
    """Their labels, as the table has them."""
    targets: Shaped[np.ndarray, "n ..."]
    """The labels as metrics take them."""
    outputs: Float[np.ndarray, "n c"]
    """Probability of every class or label, or every number."""

    def in_order(self, ids: Sequence[str], classes: Sequence[str]) -> "Predictions":
        """The same with rows and columns in this order, every one of them being there."""
        row_of = {one: at for at, one in enumerate(self.ids)}
        rows, columns = [row_of[one] for one in ids], [self.task.classes.index(name) for name in classes]
        targets = self.targets[rows]
        return replace(
            self,
            targets=np.argsort(columns)[targets] if targets.ndim == 1 else targets[:, columns],
            task=TASKS.get(self.task.kind)(classes),
            ids=tuple(ids),
            groups=tuple(self.groups[at] for at in rows),
            labels=tuple(self.labels[at] for at in rows),
            outputs=self.outputs[rows][:, columns],
        )


def predictions_table(task: Task, splits: Mapping[str, tuple[Sequence[Example], Shaped[np.ndarray, "n ..."]]]) -> str:
    """The table as CSV: of each split the examples, and what the task's `outputs` gave for them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = () if task.answers == "records" else task.classes
    writer.writerow([*_FIXED, *(f"{task.words().column}:{name}" for name in columns)])
    for split, (examples, outputs) in splits.items():
        for example, label, row in zip(examples, task.decode(outputs), outputs, strict=True):
            numbers = (f"{value:.9g}" for value in (row.tolist() if columns else ()))
            writer.writerow([split, example.id, example.group or "", example.label, label, *numbers])
    return buffer.getvalue()


def read_predictions(path: Path, split: str, kind: str) -> Predictions:
    """The rows of one split of the table at `path`, of a task of this kind.

    Raises:
        RunError: the table is missing, is not one that regraft wrote, or has no row of this split.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header, rows = next(reader, []), [row for row in reader if row and row[0] == split]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="give the folder of a finished run.") from error
    named = header[len(_FIXED) :]
    prefix = TASKS.get(kind)(named).words().column + ":"
    if tuple(header[: len(_FIXED)]) != _FIXED or not all(name.startswith(prefix) for name in named):
        raise _damaged(path, prefix, f"its columns are {', '.join(header) or 'missing'}")
    if not rows:
        raise RunError(f"{path} has no row of the {split} split.", fix="give the folder of a finished run.")
    task = TASKS.get(kind)([name.removeprefix(prefix) for name in named])
    if any(len(row) != len(header) for row in rows):
        raise _damaged(path, prefix, "a row is cut short")
    ids, groups, labels = (tuple(row[at] for row in rows) for at in (1, 2, 3))
    if len(set(ids)) != len(ids):
        raise _damaged(path, prefix, "an example occurs twice in a split")
    try:
        table = np.array([row[len(_FIXED) :] for row in rows], dtype=np.float64)
        targets = task.encode(labels)
    except ValueError as error:
        raise _damaged(path, prefix, str(error)) from error
    except RegraftError as error:
        raise _damaged(path, prefix, error.message) from error
    return Predictions(task=task, ids=ids, groups=groups, labels=labels, targets=targets, outputs=table)


def _damaged(path: Path, prefix: str, found: str) -> RunError:
    wanted: Sequence[str] = (*_FIXED, f"{prefix}NAME …")
    return RunError(
        f"{path} is not a table of predictions as regraft writes it: {found}; expected are {', '.join(wanted)}.",
        fix="copy the run again, or make it again.",
    )
