"""Words of the command line that need more than a type."""

import re
from typing import Any

from regraft.errors import BadRequest
from regraft.recipe import parse_setting

_DURATION = re.compile(r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m(?:in)?)?(?:([0-9.]+)s?)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0)


def seconds(text: str) -> float:
    """The seconds meant by `600`, `90s`, `10m`, `1h30m` or `2d`.

    Raises:
        BadRequest: it is no duration above zero.
    """
    found = _DURATION.fullmatch(text.strip().replace(" ", ""))
    try:
        total = (
            sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True) if part) if found else 0
        )
    except ValueError:
        total = 0
    if total <= 0:
        raise BadRequest(f"{text!r} is no duration.", fix="write it like 600, 90s, 10m, 1h30m or 2d.")
    return total


def settings(flags: dict[str, Any], given: list[str]) -> dict[str, Any]:
    """Flags that were used, and every `--set path=value`, which wins.

    Raises:
        BadRecipe: a setting without `=`.
    """
    return {name: value for name, value in flags.items() if value is not None} | dict(map(parse_setting, given))


def label_columns(given: list[str] | None) -> dict[str, Any]:
    """The settings for no label column, one, or several."""
    if not given:
        return {}
    return {"source.label_column": given[0]} if len(given) == 1 else {"source.label_columns": given}
