"""A strategy's options, held against their ranges before anything is computed."""

import math
from collections.abc import Mapping
from typing import Any

from regraft.errors import BadRecipe

Held = Mapping[str, tuple[bool, str]]
"""By option: whether its value lies in its range, and the words for the range."""


def positive(value: float) -> tuple[bool, str]:
    """Above 0, and finite."""
    return 0 < value < math.inf, "a positive number"


def not_negative(value: float) -> tuple[bool, str]:
    """0 or above, and finite."""
    return 0 <= value < math.inf, "0 or more"


def count(value: int) -> tuple[bool, str]:
    """1 or above."""
    return value >= 1, "1 or more"


def share(value: float) -> tuple[bool, str]:
    """In [0, 1)."""
    return 0 <= value < 1, "in [0, 1)"


def refuse_others(options: Any, held: Held, defaults: Any = None) -> None:
    """Raises: BadRecipe: a value lies outside its range; the option, the value, the range and the default are named.

    The default is that of `defaults`, or of the options' own kind.
    """
    instead = type(options)() if defaults is None else defaults
    for name, (holds, wanted) in held.items():
        if not holds:
            raise BadRecipe(
                f"options.{name} is {getattr(options, name)}; it must be {wanted}.",
                fix=f"--set options.{name}=VALUE, or leave it out for the default {getattr(instead, name)}.",
            )
