"""Sentences about many things: the first few by name, the rest by count; and the words for splits."""

from collections.abc import Iterable, Sequence

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What folders and tables call the splits, in lower case."""


def named(things: Iterable[object], limit: int = 5) -> str:
    """`a, b, c, d, e and 12 more`."""
    words = [str(thing) for thing in things]
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
