"""Numbers, tables and names as a page for people shows them. Works on the plain values of a study's report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from regraft.values import NOTHING, Measured, shown

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_|#"} | {"<": "&lt;", "\n": " "})


def plain(text: object) -> str:
    """Text that Markdown shows as it is, in a table too."""
    shown = str(text).translate(_SPECIAL)
    return shown.replace("](", "]\\(").replace("][", "]\\[")


def measured(value: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """A measured number with its interval, where it has one: `0.921 [0.874, 0.951]`."""
    if value is None or value.get("value") is None:
        return NOTHING
    if value.get("low") is None or value.get("high") is None:
        return shown(value["value"], signed=signed)
    return Measured(value=value["value"], low=value["low"], high=value["high"]).told(signed=signed)


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
