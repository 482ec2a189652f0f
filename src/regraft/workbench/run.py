"""Runs: the last event of a fit, finished runs (recipe, report, log, model), and the run folder while it is in use.

recipe.toml        every default filled in
environment.json   versions, platform, threads
events.jsonl       log, one event per line
checkpoints/       of unfinished training; removed at the end
trained_on.npy     digests of the examples that the model was trained and validated on
predictions.csv    predictions for each test (or held-out) example
report.json        the results; report.md and report.html to read
model/             the bundle

In predictions.csv the columns `label` and `predicted` hold labels as the task writes them: a class; labels or numbers
separated by semicolons. One column per output follows: `p:NAME` is the probability of a class or label, `v:NAME` a
value. Structured outputs are JSON in one column, `record`.

Letters in shapes: n examples, c outputs.
"""

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from regraft.activations.disk import remove_leftovers
from regraft.bundle_format import bundle_folder
from regraft.contracts.example import Example
from regraft.contracts.task import TASKS, Task
from regraft.errors import RegraftError, RunError
from regraft.files import Lock, atomic, write_json, write_text
from regraft.identity import digest_json
from regraft.recipe import Recipe, read_recipe, write_recipe
from regraft.values import Event, Prediction, Progress, Written

if TYPE_CHECKING:
    from regraft.bundles.bundle import Bundle
    from regraft.reports.report import Report


@dataclass(frozen=True, kw_only=True, eq=False)
class RunDone(Written):
    """The last event of `fit`."""

    report: "Report"
    """Content of `report.json`."""


def tracked(events: Iterator[Event], names: Sequence[str], folder: Path) -> Iterator[Event]:
    """Pass on the events of a fit in `folder`, and log its metrics to the trackers of these names.

    Raises:
        UnknownName: there is no such tracker.
        MissingExtra: its package is not installed.
    """
    from regraft.contracts.tracker import TRACKERS

    trackers = [TRACKERS.get(name)(folder) for name in dict.fromkeys(names)]
    for event in events:
        if isinstance(event, Progress) and event.phase == "training" and event.facts:
            for one in trackers:
                one.values(event.done, event.facts)
        elif isinstance(event, RunDone):
            section = event.report.section
            results = {name: found.value for name, found in section.metrics.items()} if section else {}
            for one in trackers:
                one.finished(event.report.recipe or {}, results)
        yield event


@dataclass(frozen=True)
class Run:
    """A folder written by `fit`."""

    path: Path
    """Path of the folder."""

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, with every default filled in."""
        return read_recipe(self.path / "recipe.toml")

    @cached_property
    def report(self) -> "Report":
        """The content of report.json.

        Raises:
            RunError: it is damaged, or from another version of regraft.
        """
        from regraft.reports.report import read_report

        return read_report(self.path)

    @cached_property
    def model(self) -> "Bundle":
        """The model, with digests checked and golden inputs replayed once."""
        from regraft.bundles.bundle import load

        return load(self.path)

    @property
    def page(self) -> Path:
        """Path of the HTML report."""
        return self.path / "report.md"

    def verdict(self) -> str:
        """Return the result in a few sentences."""
        from regraft.reports.verdict import verdict

        return verdict(self.report)

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the logged events in order; an incomplete last line is skipped."""
        with (self.path / "events.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    def predict(self, inputs: Iterable[Any], *, abstain: float | None = None) -> list[Prediction]:
        """Predict each input, in order; see `Bundle.stream` for valid inputs."""
        return self.model.predict(inputs, abstain=abstain)


def open_run(path: str | Path) -> Run:
    """Open the finished run in the folder `path`.

    Raises:
        RunError: there is no run, or it is unfinished.
    """
    folder = Path(path)
    if (folder / "report.json").is_file():
        return Run(folder)
    if (folder / "begun.json").is_file():
        raise RunError(f"{folder} holds an unfinished run.", fix="finish it: repeat the command with --resume.")
    raise RunError(f"{folder} contains no run: it has no report.json.", fix="pass the folder that `regraft fit` wrote.")


TRAINED_ON = "trained_on.npy"
"""File with the digests of training and validation examples. It lies beside the model, not in it, because it would
reveal whether a given image was used. Shape (n, 2, 20), bytes: digests of the contents, and of the decoded contents."""
_FIRST = ("begun.json", "events.jsonl", "recipe.toml")
"""Files that a run writes before any result."""
_FIXED = ("split", "id", "group", "label", "predicted")
"""First columns of predictions.csv."""
RECORD = "record"
"""Column of structured outputs."""


def trained_on(model: Path) -> np.ndarray | None:
    """Return the digests of `TRAINED_ON` from the run that made the model in this folder; None if there are none."""
    path = bundle_folder(model).resolve().parent / TRAINED_ON
    try:
        with path.open("rb") as file:
            found: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint8 and found.shape[1:] == (2, 20) else None


class RunFolder:
    """A run folder in use by this process, within a `with`."""

    def __init__(self, path: Path, recipe: Recipe, *, resume: bool) -> None:
        """Open or create the folder.

        Raises:
            RunError: the folder holds another run or a finished one, is unfinished and `resume` is not set, or another
                process is using it.
        """
        self.path = path
        self._lock = Lock(path / ".lock")
        signature = digest_json(json.loads(json.dumps(asdict(recipe), default=str)))
        begun, self._ours = path / "begun.json", not path.exists()
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; expected a folder for the run.", fix="give another --out.")
        if (path / "report.json").is_file():
            if begun.is_file():  # killed between its report and here
                self.finish()
            raise RunError(f"{path} holds a finished run.", fix="choose another --out, or delete that folder.")
        if path.exists() and not begun.is_file() and not self._nothing_made():
            raise RunError(f"{path} is not empty and contains no run.", fix="give another --out.")
        if begun.is_file():
            if not resume:
                raise RunError(
                    f"{path} holds an unfinished run.", fix="add --resume to continue, or choose another --out."
                )
            if json.loads(begun.read_text())["recipe"] != signature:
                raise RunError(
                    f"{path} holds an unfinished run with different settings.",
                    fix="resume with the original command, or choose another --out.",
                )
        if not self._lock.acquire():
            raise RunError(
                f"Another process is using {path}.", fix="wait until it has finished, or choose another --out."
            )
        write_json(begun, {"recipe": signature, "time": time.time()})
        remove_leftovers(path)
        log = path / "events.jsonl"
        if log.is_file() and not (kept := log.read_bytes()).endswith(b"\n"):  # a full disk cut its last line off
            os.truncate(log, kept.rfind(b"\n") + 1)
        self._events = log.open("a", encoding="utf-8")
        self._last = 0.0

    @property
    def checkpoints(self) -> Path:
        """Folder of training checkpoints."""
        return self.path / "checkpoints"

    def log(self, event: Event) -> None:
        """Append an event to the log; progress within a phase at most once per second."""
        now = time.time()
        if isinstance(event, Progress) and event.done < event.total and now - self._last < 1.0 and not event.facts:
            return
        self._last = now
        record = {"time": round(now, 3), **event.to_json()}
        try:
            self._events.write(json.dumps(record) + "\n")
            self._events.flush()
        except OSError as error:
            error.filename = self._events.name
            raise

    def write_trained_on(self, rows: np.ndarray, model: str) -> None:
        """Store the digests of these fingerprints, and those of the backbone's run if it is a saved model."""
        seen = np.stack([rows["content"], rows["decoded"]], axis=1)
        before = trained_on(Path(model.removeprefix("bundle:")).expanduser())
        with atomic(self.path / TRAINED_ON) as file:
            whole = seen if before is None else np.concatenate([before, seen])
            np.lib.format.write_array(file, whole, allow_pickle=False)

    def write_recipe(self, recipe: Recipe) -> None:
        """Store the recipe with its defaults."""
        write_text(self.path / "recipe.toml", write_recipe(recipe))

    def write(self, name: str, value: Any) -> None:
        """Store a JSON value, or text, in a file."""
        if isinstance(value, str):
            write_text(self.path / name, value)
        else:
            write_json(self.path / name, value)

    def finish(self) -> None:
        """Remove files that only an unfinished run needs."""
        import shutil

        shutil.rmtree(self.checkpoints, ignore_errors=True)
        (self.path / "begun.json").unlink(missing_ok=True)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # on a full disk, the rest of the log
            self._events.close()
        remove_leftovers(self.path)
        refused = kind is not None and issubclass(kind, Exception) and self._nothing_made()
        if refused:
            for name in _FIRST:
                (self.path / name).unlink(missing_ok=True)
        self._lock.release()
        (self.path / ".lock").unlink(missing_ok=True)
        if refused and self._ours:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _nothing_made(self) -> bool:
        """Return whether the run has no results yet that a resumed run could use or would overwrite; an empty model
        folder is removed."""
        with contextlib.suppress(OSError):
            (self.path / "model").rmdir()
        return all(found.name in (*_FIRST, ".lock") or found.suffix == ".part" for found in self.path.iterdir())


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions for the examples of one split."""

    task: Task
    """The task, with the names of the outputs."""
    ids: tuple[str, ...]
    """Ids of the examples, unique."""
    groups: tuple[str, ...]
    """Their groups; empty for none."""
    labels: tuple[str, ...]
    """Their labels, as in the table."""
    targets: Shaped[np.ndarray, "n ..."]
    """Targets in the form metrics take."""
    outputs: Shaped[np.ndarray, "n ..."]
    """Probability of every class or label, values, or structured outputs."""

    def in_order(self, ids: Sequence[str], classes: Sequence[str]) -> "Predictions":
        """Return the predictions with rows and columns in this order; all must be present. Structured outputs already
        have their classes in this order."""
        row_of = {one: at for at, one in enumerate(self.ids)}
        rows, columns = [row_of[one] for one in ids], [self.task.classes.index(name) for name in classes]
        targets, outputs = self.targets[rows], self.outputs[rows]
        if self.task.answers != "structured":
            targets = np.argsort(columns)[targets] if targets.ndim == 1 else targets[:, columns]
            outputs = outputs[:, columns]
        return replace(
            self,
            targets=targets,
            task=TASKS.get(self.task.kind)(classes),
            ids=tuple(ids),
            groups=tuple(self.groups[at] for at in rows),
            labels=tuple(self.labels[at] for at in rows),
            outputs=outputs,
        )


def predictions_table(task: Task, splits: Mapping[str, tuple[Sequence[Example], Shaped[np.ndarray, "n ..."]]]) -> str:
    """Return the predictions as CSV: for each split the examples and the task's `outputs`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = () if task.answers == "structured" else task.classes
    recorded = task.answers == "structured" and not task.taught
    header = [*(f"{task.words().column}:{name}" for name in columns), *([RECORD] if recorded else [])]
    writer.writerow([*_FIXED, *header])
    for split, (examples, outputs) in splits.items():
        if recorded:
            rows = [[json.dumps(one, ensure_ascii=False)] for one in task.recorded(outputs)]
        else:
            rows = [[f"{value:.9g}" for value in (row.tolist() if columns else ())] for row in outputs]
        for example, label, row in zip(examples, task.decode(outputs), rows, strict=True):
            writer.writerow([split, example.id, example.group or "", example.label, label, *row])
    return buffer.getvalue()


def read_predictions(path: Path, split: str, kind: str, classes: Sequence[str] = ()) -> Predictions:
    """Read one split of the table at `path`, for a task of this kind; `classes` are needed for structured outputs.

    Raises:
        RunError: the table is missing, was not written by regraft, or has no row of this split.
    """
    csv.field_size_limit(1 << 30)  # the record of a large mask
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header, rows = next(reader, []), [row for row in reader if row and row[0] == split]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="give the folder of a finished run.") from error
    named = header[len(_FIXED) :]
    records = header[len(_FIXED) :] == [RECORD]
    prefix = RECORD if records else TASKS.get(kind)(named).words().column + ":"
    if tuple(header[: len(_FIXED)]) != _FIXED or not all(name.startswith(prefix) for name in named):
        raise _damaged(path, prefix, f"its columns are {', '.join(header) or 'missing'}")
    if not rows:
        raise RunError(f"{path} has no row of the {split} split.", fix="give the folder of a finished run.")
    task = TASKS.get(kind)(classes if records else [name.removeprefix(prefix) for name in named])
    if any(len(row) != len(header) for row in rows):
        raise _damaged(path, prefix, "a row is cut short")
    ids, groups, labels = (tuple(row[at] for row in rows) for at in (1, 2, 3))
    if len(set(ids)) != len(ids):
        raise _damaged(path, prefix, "an example occurs twice in a split")
    try:
        if records:
            table = task.restored([json.loads(row[-1]) for row in rows])
        else:
            table = np.array([row[len(_FIXED) :] for row in rows], dtype=np.float64)
        targets = task.encode(labels)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, prefix, str(error)) from error
    except RegraftError as error:
        raise _damaged(path, prefix, error.message) from error
    return Predictions(task=task, ids=ids, groups=groups, labels=labels, targets=targets, outputs=table)


def _damaged(path: Path, prefix: str, found: str) -> RunError:
    wanted: Sequence[str] = (*_FIXED, prefix if prefix == RECORD else f"{prefix}NAME …")
    return RunError(
        f"{path} is not a table of predictions written by regraft: {found}; expected {', '.join(wanted)}.",
        fix="copy the run again, or repeat it.",
    )
