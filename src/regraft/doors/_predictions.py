"""Predictions as text: tab-separated, as a table, or as JSON, one per line, in constant memory."""

import contextlib
import csv
import io
import sys
from collections.abc import Iterable, Iterator
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any

from regraft.doors.screen import as_json
from regraft.errors import BadData
from regraft.files import atomic
from regraft.values import Prediction
from regraft.words import counted, joined, visible

_NAMED = 5
"""Maximum number of unreadable inputs that are named at the end; the table has them all."""


def write_predictions(predictions: Iterable[Prediction], *, out: Path | None, json_lines: bool) -> None:
    """Write every prediction to `out` (a CSV table unless `json_lines`), or to stdout.

    Raises:
        BadData: some inputs could not be read. Everything was written nevertheless, those with their reason.
    """
    num_inputs, unread = 0, list[Prediction]()

    def noted() -> Iterator[Prediction]:
        nonlocal num_inputs
        for one in predictions:
            num_inputs += 1
            if one.error is not None:
                unread.append(one)
            yield one

    write = _json if json_lines else _table if out else _tabs
    with _file(out) as file:
        write(file, noted())
    if out:
        print(f"{counted(num_inputs, 'prediction')} in {out}", file=sys.stderr if json_lines else sys.stdout)
    if unread:
        shown = "; ".join(map(_reason, unread[:_NAMED])) + ("; …" if unread[_NAMED:] else "")
        raise BadData(
            f"{len(unread):,} of {num_inputs:,} inputs could not be read and have no prediction: {shown}.",
            fix="repair or remove these files; the other predictions are valid.",
        )


def _reason(one: Prediction) -> str:
    """Return the input and the reason, which may already name it."""
    reason = str(one.error).rstrip(".")
    return visible(reason if one.id in reason else f"{one.id}: {reason}")


@contextlib.contextmanager
def _file(out: Path | None) -> Iterator[Any]:
    if out is None:
        yield sys.stdout
        return
    for left in out.parent.glob(f".{escape(out.name)}.*.part"):  # by a killed process
        left.unlink(missing_ok=True)
    with atomic(out) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
        yield file
        file.flush()
        file.detach()


def _tabs(file: Any, predictions: Iterable[Prediction]) -> None:
    """Return path, label and probability of the label (of each label; none for numbers), or what replaces them."""
    for one in predictions:
        if one.error is not None:
            said = ["(unreadable)", str(one.error)]
        elif one.label is None:
            said = ["(abstained)", f"OOD score {one.ood_score:.4f}"]
        elif one.label in one.probabilities:
            said = [one.label, f"{one.probabilities[one.label]:.4f}"]
        else:
            said = [one.label or "(no label)", *_beside(one)]
        file.write("\t".join(map(visible, (one.id, *said))) + "\n")


def _beside(one: Prediction) -> list[str]:
    """Return the probability of each predicted label; nothing for numbers."""
    return [joined(f"{one.probabilities[label]:.4f}" for label in one.labels)] if one.labels else []


def _json(file: Any, predictions: Iterable[Prediction]) -> None:
    for one in predictions:
        file.write(as_json(one) + "\n")


def _table(file: Any, predictions: Iterable[Prediction]) -> None:
    """Write CSV. The last columns are those of the first readable input, for which earlier rows wait: `p:` and a class
    or label for a probability, `v:` and a name for a number."""
    writer = csv.writer(file, lineterminator="\n")
    waiting: list[Prediction] = []
    rest = iter(predictions)
    for one in rest:
        waiting.append(one)
        if one.probabilities or one.values:
            break
    first = waiting[-1] if waiting else None
    columns = (
        [] if first is None else [f"p:{name}" for name in first.probabilities] + [f"v:{name}" for name in first.values]
    )
    writer.writerow([*_FIXED, *columns])
    for one in chain(waiting, rest):
        share = one.probabilities.get(one.label or "")
        top = "" if share is None else f"{share:.6f}"
        ood_score = "" if one.ood_score is None else f"{one.ood_score:.6f}"
        every = [f"{p:.6f}" for p in one.probabilities.values()] + [repr(v) for v in one.values.values()]
        every = every or [""] * len(columns)
        writer.writerow([one.id, one.label or "", top, ood_score, int(one.abstained), one.error or "", *every])


_FIXED = ("input", "label", "probability", "ood_score", "abstained", "error")
