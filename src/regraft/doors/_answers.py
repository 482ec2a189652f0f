"""Predictions as text: between tabs, as a table, or as JSON, one a line. Memory does not grow with their number."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from regraft.doors._stream import Stream
from regraft.errors import BadData
from regraft.files import atomic
from regraft.labels import joined
from regraft.values import Prediction

_NAMED = 5
"""So many unreadable inputs are named at the end; the table has them all."""


def write_answers(answers: Iterable[Prediction], *, out: Path | None, json_lines: bool) -> None:
    """Write every answer to `out` (a CSV table unless `json_lines`), or to stdout.

    Raises:
        BadData: some inputs could not be read. Everything was written nevertheless, those with their reason.
    """
    asked, unread = 0, list[Prediction]()

    def counted() -> Iterator[Prediction]:
        nonlocal asked
        for answer in answers:
            asked += 1
            if answer.error is not None:
                unread.append(answer)
            yield answer

    write = _json if json_lines else _table if out else _tabs
    with _goal(out) as file:
        write(file, counted())
    if out:
        print(f"{asked:,} {'answer' if asked == 1 else 'answers'} in {out}")
    if unread:
        shown = "; ".join(map(_reason, unread[:_NAMED])) + ("; …" if unread[_NAMED:] else "")
        raise BadData(
            f"{len(unread):,} of {asked:,} inputs could not be read, and have no label: {shown}.",
            fix="repair or remove these files; the other answers stand.",
        )


def _reason(answer: Prediction) -> str:
    """Which input, and why; the reason may name it already."""
    reason = str(answer.error)
    return reason.rstrip(".") if answer.id in reason else f"{answer.id}: {reason.rstrip('.')}"


@contextlib.contextmanager
def _goal(out: Path | None) -> Iterator[Stream]:
    if out is None:
        yield sys.stdout
        return
    with atomic(out) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield file
        file.flush()
        file.detach()


def _tabs(file: Stream, answers: Iterable[Prediction]) -> None:
    """Path, label and probability of the label (of each tag, none for numbers); or what stands in their place."""
    for answer in answers:
        if answer.error is not None:
            said = f"(unreadable)\t{answer.error}"
        elif answer.label is None:
            said = f"(abstained)\tunlike the training data: {answer.unlike:.4f}"
        elif answer.label in answer.probabilities:
            said = f"{answer.label}\t{answer.probabilities[answer.label]:.4f}"
        else:
            said = "\t".join([answer.label or "(no tag)", *_beside(answer)])
        file.write(f"{answer.id}\t{said}\n")


def _beside(answer: Prediction) -> list[str]:
    """The probability of each tag that is said; nothing beside numbers."""
    return [joined(f"{answer.probabilities[tag]:.4f}" for tag in answer.labels)] if answer.labels else []


def _json(file: Stream, answers: Iterable[Prediction]) -> None:
    for answer in answers:
        file.write(json.dumps(asdict(answer), ensure_ascii=False, allow_nan=False) + "\n")


def _table(file: Stream, answers: Iterable[Prediction]) -> None:
    """CSV. The last columns are those of the first input that could be read; earlier rows wait for it: `p:` and a class
    or tag for a probability, `v:` and a name for a number."""
    writer = csv.writer(file, lineterminator="\n")
    waiting: list[Prediction] = []
    rest = iter(answers)
    for answer in rest:
        waiting.append(answer)
        if answer.probabilities or answer.values:
            break
    first = waiting[-1] if waiting else None
    columns = (
        [] if first is None else [f"p:{name}" for name in first.probabilities] + [f"v:{name}" for name in first.values]
    )
    writer.writerow([*_FIXED, *columns])
    for answer in chain(waiting, rest):
        share = answer.probabilities.get(answer.label or "")
        top = "" if share is None else f"{share:.6f}"
        unlike = "" if answer.unlike is None else f"{answer.unlike:.6f}"
        every = [f"{p:.6f}" for p in answer.probabilities.values()] + [repr(v) for v in answer.values.values()]
        every = every or [""] * len(columns)
        writer.writerow([answer.id, answer.label or "", top, unlike, int(answer.abstained), answer.error or "", *every])


_FIXED = ("input", "label", "probability", "unlike", "abstained", "error")
