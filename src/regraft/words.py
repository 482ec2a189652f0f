"""Text formatting: lists of names, counts, durations, sizes, Markdown tables; names of splits; and labels of several
parts, joined by `;` whatever delimiter the table uses."""

import math
import re
from collections.abc import Iterable, Sequence

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Names of splits in folders, archives and tables, in lower case."""
_WORD = re.compile(rf"({'|'.join(SPLIT_WORDS)})(?:sets?|data|images?|imgs?)?")
_BESIDE = re.compile(
    "(data)?sets?|data|(image|img|pic(ture)?|photo|file|sample|example|split|part)s?|folder|dir|seg|public|private|new|all"
)
"""Words that may occur in a split's name without changing its meaning."""


EMPTY = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "-", "<na>"))
"""Table cells that stand for a missing number, in any case."""
LONG_LABEL = 40
"""Longer labels are not repeated in messages: boxes as JSON, texts. Our choice."""


def splits_in(names: Iterable[str]) -> dict[str, str]:
    """Return the names that denote splits, each with its split: train, val or test.

    Some names are clear on their own (`Train`, `training_set`, `seg_test`, `val2017`, `TestImages`), others only next
    to similar ones (`xray_train` next to `xray_test`). Case, digits and punctuation are ignored.
    """
    found = dict[str, tuple[str, str]]()
    for name in names:
        words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
        splits = {SPLIT_WORDS[match[1]] for match in map(_WORD.fullmatch, words) if match}
        if len(splits) == 1:
            rest = " ".join(word for word in words if not (_BESIDE.fullmatch(word) or _WORD.fullmatch(word)))
            found[name] = rest, splits.pop()
    kinds = dict[str, set[str]]()
    for rest, split in found.values():
        kinds.setdefault(rest, set()).add(split)
    return {name: split for name, (rest, split) in found.items() if not rest or len(kinds[rest]) > 1}


_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that control a terminal or reverse its writing direction, with their escaped form."""


def visible(text: object) -> str:
    """Return the text on one line with control characters escaped; names of files and classes may contain some."""
    return str(text).translate(_UNSEEN)


def labelled(name: str, label: str) -> str:
    """`a.jpg (ant)`; the name alone if the label is long (boxes as JSON, texts)."""
    return f"{name} ({label})" if len(label) <= LONG_LABEL else name


def named(things: Iterable[object], limit: int = 5) -> str:
    """Format things as `a, b, c, d, e and 12 more`."""
    words = [visible(thing) for thing in things]
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {more} more" if more > 0 else "")


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Format names as `a`, `a and b` or `a, b and c`; with more than `limit`, the first ones and how many more there
    are."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(count: int, one: str, many: str = "") -> str:
    """Format a count as `1 file` or `12,345 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_|#"} | {"<": "&lt;", "\n": " "})


def plain(text: object) -> str:
    """Escape text so that Markdown shows it unchanged, also in a table."""
    shown = str(text).translate(_SPECIAL)
    return shown.replace("](", "]\\(").replace("][", "]\\[")


def duration(seconds: float) -> str:
    """Format seconds in a suitable unit: `0.4 s`, `73 s`, `5 min 10 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(num_bytes: float) -> str:
    """Format bytes in a suitable unit: `1.2 GB`; 1 GB is 10^9 bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def lowered(title: str) -> str:
    """Return a title as written inside a sentence: `accuracy`, but `AUROC` and `R²`."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with the first column left-aligned and the others right-aligned. Cells are not
    escaped."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """Return a Markdown list. Items are not escaped."""
    return "\n".join(f"- {item}" for item in items)


JOINT = ";"
"""Separator of the parts of a label."""


def joined(parts: Iterable[str]) -> str:
    """Join the parts into one label; empty if there are none."""
    return JOINT.join(parts)


def parted(label: str) -> list[str]:
    """Split a label into its parts; empty for an empty label."""
    return label.split(JOINT) if label else []


def number(text: str) -> float | None:
    """Parse a finite decimal number; None if `text` is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
