"""Interpret the labels of a data set (a class, several labels, or regression targets), check and normalise them.

The user may set the kind. By default, a delimiter between labels or several columns of 0 and 1 mean `multilabel`,
several columns of other numbers `regression`, and anything else classification: a column of numbers may well hold
classes, so it only triggers a notice.

File names may reveal groups, which are suggested but never assumed, and masks next to their images. Files of one
patient, plant or recording often share a prefix: `person39_virus_85`, `8863_idx5_x1901_y1251`. Names are sorted by form
(with every run of digits replaced), and for each form we search for the shortest prefix that contains a number and is
shared as groups would be. The thresholds are our choice; on the four small data sets used to choose them they find the
patients of chest X-rays and tissue sections, and nothing in photographs named by a web site's numbers or random
identifiers.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import PurePosixPath

from regraft.contracts.example import Example
from regraft.contracts.task import TASKS
from regraft.errors import BadData, BadRequest
from regraft.values import Notice, notices
from regraft.words import JOINT, counted, joined, named, number

MANY_VALUES = 20
"""Number of distinct values from which a column of numbers triggers a notice (our choice)."""
_DIGITS = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)")
_TRUTH = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How to read the labels."""

    kind: str = "auto"
    """Name of the task; for `auto` see the top of this file."""
    columns: tuple[str, ...] = ("label",)
    """Column or columns of labels."""
    delimiter: str = ""
    """Delimiter of the labels in one cell; empty for none."""
    order: tuple[str, ...] = ()
    """Classes from the lowest rank to the highest, for ordinal tasks; empty to sort numeric classes by value."""
    known: tuple[str, ...] = ()
    """Classes of a trained model, whose spelling of numbers takes precedence."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Interpreted labels."""

    kind: str
    """Name of the task."""
    classes: tuple[str, ...]
    """Names of the classes, labels or regression targets."""
    examples: tuple[Example, ...]
    """The examples, each with its normalised label."""
    notes: tuple[Notice, ...] = ()
    """Notices about assumptions."""


def understood(examples: Sequence[Example], asked: Asked, table: str) -> Labels:
    """Interpret the labels of `examples` as specified by `asked`; `table` is the name of their source in errors.

    Raises:
        BadData: a label is not of its kind; the error names file, row, column, what was found and what is expected.
        BadRequest: the kind needs a delimiter or columns that were not given, or does not go with those that were.
    """
    several = len(asked.columns) > 1
    if asked.delimiter and several:
        raise BadRequest(
            f"Both a label delimiter ({asked.delimiter!r}) and several label columns were given "
            f"({named(asked.columns)}).",
            fix="give only one of the two.",
        )
    kind = _guessed(examples, asked) if asked.kind == "auto" else asked.kind
    if kind == "multilabel" and asked.delimiter:
        return _several(examples, asked, table)
    if kind == "multilabel" and (several or asked.kind == "multilabel"):
        return _flags(examples, asked.columns, table, alone=not several)
    if kind == "regression":
        return _numbers(examples, asked.columns, table)
    if several or asked.delimiter:
        given = f"several label columns ({named(asked.columns)})" if several else "a label delimiter"
        raise BadRequest(
            f"{given[0].upper()}{given[1:]} cannot be used with a {kind} task, which has one label per example.",
            fix="name a single label column, or use another --task (multilabel, regression).",
        )
    read = TASKS.get(kind)(())
    spelled = set[str]() if read.forced else {example.label for example in examples}  # texts are unchanged
    one, merged = one_spelling(spelled, (*asked.known, *asked.order))
    examples = [replace(each, label=one.get(each.label, each.label)) for each in examples] if one else examples
    if kind == "ordinal":
        found = _ranks(examples, asked.order, table)
        return replace(found, notes=(*found.notes, *notices(merged)))
    classes = tuple(sorted({name for example in examples for name in read.named(example.label)}))
    numeric = asked.kind == "auto" and len(classes) >= MANY_VALUES and are_numbers(classes)
    text = (
        f"The labels are {len(classes)} different numbers, treated as classes; to predict them as numbers, use --task "
        "regression."
    )
    return Labels(
        kind=kind, classes=classes, examples=tuple(examples), notes=notices([*merged, text] if numeric else merged)
    )


def numeric(label: str) -> Decimal | None:
    """Return the number written in digits, with a decimal point or comma; None if the label is not a number."""
    return Decimal(label.replace(",", ".")) if _DIGITS.fullmatch(label) else None


def one_spelling(
    names: Iterable[str], first: Sequence[str] = (), what: str = "class"
) -> tuple[dict[str, str], list[str]]:
    """Map names that write the same number differently (0.0 for 0, 01 for 1) to one of them; also return sentences
    about it.

    The shortest spelling is used, but those in `first` take precedence. Numbers with a comma could also be two numbers,
    and are unchanged.
    """
    given = set(names)
    same = dict[Decimal | None, list[str]]()
    for name in sorted({*given, *first}, key=lambda name: (name not in first, len(name), name)):
        same.setdefault(None if "," in name else numeric(name), []).append(name)
    same.pop(None, None)
    several = {some[0]: [one for one in some[1:] if one in given and one not in first] for some in same.values()}
    notes = [
        f"{named(map(repr, others))} and {one!r} are the same number: read as the {what} {one!r}."
        for one, others in several.items()
        if others
    ]
    return {other: one for one, others in several.items() for other in others}, notes


def are_numbers(labels: Iterable[str]) -> bool:
    """Return whether all labels are finite numbers."""
    return all(number(label) is not None for label in labels)


def _guessed(examples: Sequence[Example], asked: Asked) -> str:
    if asked.delimiter:
        return "multilabel"
    if len(asked.columns) == 1:
        return "classification"
    cells = {cell.casefold() for example in examples for cell in example.label.split(JOINT)}
    return "multilabel" if cells <= _TRUTH.keys() else "regression"


def _several(examples: Sequence[Example], asked: Asked, table: str) -> Labels:
    column = asked.columns[0]
    cells = [[label for cell in one.label.split(asked.delimiter) if (label := cell.strip())] for one in examples]
    one, merged = one_spelling((label for labels in cells for label in labels), asked.known)
    found = [[one.get(label, label) for label in labels] for labels in cells]
    classes = tuple(sorted({label for labels in found for label in labels}))
    if odd := [label for label in classes if JOINT in label]:
        raise BadData(
            f"{table}: the label {odd[0]!r} in the column {column!r} contains a {JOINT!r}, which separates labels.",
            fix=f"rename it, or pass {JOINT!r} as the delimiter.",
        )
    if not classes:
        raise BadData(f"{table}: no example has a label in the column {column!r}.", fix="name another column.")
    twice = sum(len(set(labels)) < len(labels) for labels in found)
    notes = [f"{counted(twice, 'example names', 'examples name')} a label twice; it counts once."] if twice else []
    return _written(
        examples, [joined(sorted(set(labels))) for labels in found], "multilabel", classes, [*merged, *notes]
    )


def _flags(examples: Sequence[Example], columns: tuple[str, ...], table: str, *, alone: bool) -> Labels:
    """Read columns of 0 and 1, one per label."""
    if alone and not all(one.label.casefold() in _TRUTH for one in examples):
        raise BadRequest(
            "A multilabel task requires the format of the labels.",
            fix="give the delimiter between the labels of a cell (--label-delimiter ';'), or name columns of 0 and 1.",
        )
    _refuse_joint(columns, table)
    rows = _cells(examples, columns, table, lambda cell: _TRUTH.get(cell.casefold()), "0 or 1")
    labels = [joined(name for name, here in zip(columns, row, strict=True) if here) for row in rows]
    return _written(examples, labels, "multilabel", columns)


def _numbers(examples: Sequence[Example], columns: tuple[str, ...], table: str) -> Labels:
    _refuse_joint(columns, table)
    rows = _cells(examples, columns, table, number, "a number")
    return _written(examples, [joined(map(repr, row)) for row in rows], "regression", columns)


def _ranks(examples: Sequence[Example], order: tuple[str, ...], table: str) -> Labels:
    present = {example.label for example in examples}
    if not order:
        if not are_numbers(present):
            raise BadRequest(
                f"The order of the classes {named(sorted(present))} is unknown; an ordinal task requires it.",
                fix="""--set 'target.order=["low", "middle", "high"]', from the lowest to the highest.""",
            )
        order = tuple(sorted(present, key=float))
    if odd := [example for example in examples if example.label not in order]:
        raise BadData(
            f"{_where(odd[0], table)}: {odd[0].label!r} is not one of the ordered classes ({named(order, 12)}).",
            fix="correct the label, or add it to target.order.",
        )
    return Labels(kind="ordinal", classes=order, examples=tuple(examples))


def _cells(
    examples: Sequence[Example],
    columns: tuple[str, ...],
    table: str,
    read: Callable[[str], float | bool | None],
    wanted: str,
) -> list[list[float | bool]]:
    """Return all cells as parsed by `read`; raises for the first that is None, with the number of others."""
    rows, wrong = [], list[tuple[Example, str, str]]()
    for example in examples:
        cells = example.label.split(JOINT) if len(columns) > 1 else [example.label.strip()]
        if len(cells) != len(columns):
            raise BadData(
                f"{_where(example, table)}: a cell of {named(columns)} contains a {JOINT!r}; expected {wanted}.",
                fix="write one value per cell.",
            )
        values = [read(cell) for cell in cells]
        wrong += [
            (example, name, cell) for name, cell, value in zip(columns, cells, values, strict=True) if value is None
        ]
        rows.append([value for value in values if value is not None])
    if wrong:
        example, column, cell = wrong[0]
        more = f" ({counted(len(wrong) - 1, 'other cell')} like it)" if len(wrong) > 1 else ""
        raise BadData(
            f"{_where(example, table)}: {column} is {cell!r}; expected {wanted}{more}.",
            fix="correct the cell (such as 1234.5: decimal point, no unit, no thousands separator), or delete the row.",
        )
    return rows


def _refuse_joint(columns: Sequence[str], table: str) -> None:
    if odd := [name for name in columns if JOINT in name]:
        raise BadData(f"{table}: the column {odd[0]!r} has a {JOINT!r} in its name.", fix="rename it.")


def _where(example: Example, table: str) -> str:
    return f"{table} row {example.row}" if example.row is not None else example.id


def _written(
    examples: Sequence[Example], labels: Iterable[str], kind: str, classes: tuple[str, ...], notes: Iterable[str] = ()
) -> Labels:
    return Labels(
        kind=kind,
        classes=classes,
        examples=tuple(replace(one, label=label) for one, label in zip(examples, labels, strict=True)),
        notes=notices(notes),
    )


_MIN_FILES = 30
"""Minimum number of files; fewer names are not informative."""
_MIN_GROUPS = 8
"""Minimum number of prefixes; fewer are more likely to be cameras, days or classes than groups."""
_MAX_SHARE = 0.2
"""Maximum fraction of the files of its form with the same prefix."""
_MIN_SHARED = 0.25
"""Minimum fraction of all files that share their prefix with another."""
_MAX_FORMS = 4
"""Maximum number of prefixes spelled out in a pattern; beyond it, a general pattern is used if it is equivalent."""
_LETTERS = r"[^\W\d_]+"
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}|[0-9a-f]{16,}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Groups suggested by file names."""

    pattern: str
    """Regular expression to search for in ids; its first group names the example's group."""
    names: tuple[str, ...]
    """The group of every example; its own name if it has none."""


def suggest_groups(ids: list[str]) -> list[Notice]:
    """Return at most one notice, with a pattern that fits these ids and its effect."""
    if (found := suggested_groups(ids)) is None:
        return []
    shared = Counter(found.names)
    example, count = shared.most_common(1)[0]
    together = sum(count for count in shared.values() if count > 1)
    text = (
        f"The file names suggest that {together:,} of {len(ids):,} examples belong to groups ({count} begin "
        f"with {example!r}). If that is a patient, a plant or a place, keep each group within one split: "
        f"--group-pattern '{found.pattern}'"
    )
    return [Notice(text=text, topic="data")]


def suggested_groups(ids: list[str]) -> Suggestion | None:
    """Return the groups suggested by these ids, or None."""
    stems = [one.rpartition("/")[2].rpartition(".")[0] for one in ids]
    if len(stems) < _MIN_FILES:
        return None
    forms: dict[str, list[str]] = {}
    for stem in stems:
        forms.setdefault(re.sub(r"\d+", "#", stem), []).append(stem)
    prefixes: dict[str, str] = {}
    for some in forms.values():
        prefixes |= _prefix(some)
    names = tuple(prefixes.get(stem, stem) for stem in stems)
    together = sum(count for count in Counter(names).values() if count > 1)
    if not prefixes or together < _MIN_SHARED * len(stems):
        return None
    return Suggestion(pattern=_pattern(ids, stems, prefixes), names=names)


def _pattern(ids: list[str], stems: list[str], prefixes: dict[str, str]) -> str:
    """Return a regular expression for these prefixes: their words spelled out, or a general one if it is equivalent."""
    digits = {re.sub(r"\d+", "0", re.escape(prefix)) for prefix in prefixes.values()}
    spelled, shorter = (
        "|".join(sorted({form.replace("0", r"\d+") for form in forms}, key=len, reverse=True))
        for forms in (digits, {re.sub(_LETTERS, lambda _: _LETTERS, form) for form in digits})
    )
    whole = r"(?:^|/)({})[_. -][^/]*$"
    if len(digits) > _MAX_FORMS:
        found = [re.search(whole.format(shorter), one) for one in ids]
        if all((one[1] if one else None) == prefixes.get(stem) for one, stem in zip(found, stems, strict=True)):
            return whole.format(shorter)
    return whole.format(spelled)


def _prefix(stems: list[str]) -> dict[str, str]:
    """Return, by name, the shortest prefix that groups the names of one form; empty if there is none."""
    pieces = [re.split(r"([_\-. ]+)", stem) for stem in stems]
    if len(stems) < _MIN_GROUPS or _RANDOM.search(stems[0]):
        return {}
    for length in range(1, min(len(one) for one in pieces), 2):
        prefixes = ["".join(one[:length]) for one in pieces]
        counts = Counter(prefixes)
        if not any(character.isdigit() for character in prefixes[0]) or len(counts) < _MIN_GROUPS:
            continue
        if max(counts.values()) > max(2, _MAX_SHARE * len(stems)):
            continue
        return {} if len(counts) == len(stems) else dict(zip(stems, prefixes, strict=True))
    return {}


_MASKS = re.compile(r"masks?|seg(mentation)?s?|annotations?|labels?|gt|ground[ _-]?truths?", re.IGNORECASE)
"""Usual names of folders of masks."""
MASK_ENDING = re.compile(r"[ _-]*(mask|seg|segmentation|label|gt|annotation)$", re.IGNORECASE)
"""Usual suffixes of masks' names, compared with their images'."""
_MIN_SHARE = 0.5
"""Minimum fraction of names shared with another class for such a folder to be reported (our choice)."""


def suspect_masks(examples: Sequence[Example]) -> list[Notice]:
    """Return a notice for every class named like masks, with files named like those of another class."""
    classes = {example.label for example in examples}
    suspects = sorted(filter(_MASKS.fullmatch, classes))
    if not suspects:
        return []
    stems: dict[str, set[str]] = {}
    for example in examples:
        stems.setdefault(example.label, set()).add(MASK_ENDING.sub("", PurePosixPath(example.id).stem))
    notices = []
    for name in suspects:
        for other in sorted(classes.difference(suspects)):
            shared = len(stems[name] & stems[other])
            if shared >= _MIN_SHARE * len(stems[name]):
                text = (
                    f"{shared:,} of {len(stems[name]):,} file names in the class {name!r} also occur in {other!r}. "
                    "If these "
                    "are masks of those images, they are not a class: for segmentation, name the two folders images "
                    "and masks, or use a table with the columns image and mask."
                )
                notices.append(Notice(text=text, topic="data"))
    return notices
