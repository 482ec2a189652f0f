"""A strategy's options, held against their ranges before anything is computed."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from regraft.errors import BadRecipe

Ranges = tuple[tuple[str, str], ...]
"""Of a class of options: the words for a range and the names of the options in it, those that it inherits left out."""
HOLDS: Mapping[str, Callable[[float], bool]] = {
    "a positive number": lambda value: 0 < value < math.inf,
    "0 or more": lambda value: 0 <= value < math.inf,
    "1 or more": lambda value: value >= 1,
    "2 or more": lambda value: value >= 2,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
}
"""Whether a value lies in a range, by the words for it."""


def check_ranges(options: Any) -> None:
    """Raises: BadRecipe: a value lies outside its range; the option, the value, the range and the default are named."""
    for kind in type(options).__mro__:
        for wanted, names in vars(kind).get("RANGES", ()):
            for name in names.split():
                value = getattr(options, name)
                if not HOLDS[wanted](value):
                    raise BadRecipe(
                        f"options.{name} is {value}; it must be {wanted}.",
                        fix=f"--set options.{name}=VALUE, or leave it out for the default "
                        f"{getattr(type(options)(), name)}.",
                    )
