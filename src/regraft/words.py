"""Sentences about many things: the first few by name, the rest by count; words for splits; durations, sizes, tables;
and how a label that holds several things is written: with `;` between them, whatever a table has."""

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
"""What folders, archives and tables call the splits, in lower case."""
_WORD = re.compile(rf"({'|'.join(SPLIT_WORDS)})(?:sets?|data|images?|imgs?)?")
_BESIDE = re.compile(
    "(data)?sets?|data|(image|img|pic(ture)?|photo|file|sample|example|split|part)s?|folder|dir|seg|public|private|new|all"
)
"""Words that a split's name may have beside its own without meaning anything else."""


EMPTY = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "-", "<na>"))
"""What stands in a table for a missing number, in any case."""


def splits_in(names: Iterable[str]) -> dict[str, str]:
    """The names among these that are those of splits, and of which: train, val or test.

    Some say it by themselves (`Train`, `training_set`, `seg_test`, `val2017`, `TestImages`), others only beside their
    like (`xray_train` beside `xray_test`). Case, digits and signs do not matter.
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
"""Characters that steer a terminal or turn its writing round, and how they are shown."""


def visible(text: object) -> str:
    """The text in one line; a name of a file or class may hold what a terminal would obey."""
    return str(text).translate(_UNSEEN)


def named(things: Iterable[object], limit: int = 5) -> str:
    """`a, b, c, d, e and 12 more`."""
    words = [visible(thing) for thing in things]
    more = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {more} more" if more > 0 else "")


def listed(names: Sequence[str], limit: int = 5) -> str:
    """`a`, `a and b`, `a, b and c`; of more than `limit` the first, and how many more."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(count: int, one: str, many: str = "") -> str:
    """`1 file`, `12,345 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_|#"} | {"<": "&lt;", "\n": " "})


def plain(text: object) -> str:
    """Text that Markdown shows as it is, in a table too."""
    shown = str(text).translate(_SPECIAL)
    return shown.replace("](", "]\\(").replace("][", "]\\[")


def duration(seconds: float) -> str:
    """Wall time in the unit that fits: `0.4 s`, `73 s`, `5 min 10 s`, `2 h 05 min`."""
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
    """Bytes in the unit that fits: `1.2 GB`; 1 GB is 10^9."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def lowered(title: str) -> str:
    """A title inside a sentence: `accuracy`, but `AUROC` and `R²`."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left, the others to the right. Cells go in as they are."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """A Markdown list. Items go in as they are."""
    return "\n".join(f"- {item}" for item in items)


JOINT = ";"
"""What stands between the parts of a label."""


def joined(parts: Iterable[str]) -> str:
    """The parts as one label; empty where there is none."""
    return JOINT.join(parts)


def parted(label: str) -> list[str]:
    """The parts of a label; none where it is empty."""
    return label.split(JOINT) if label else []


def number(text: str) -> float | None:
    """The finite number that `text` writes in decimal; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
