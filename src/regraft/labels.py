"""How a label that holds several things is written: labels or targets with a semicolon between them.

One way, whatever a table's own delimiter was; the same in an example's label, in predictions.csv and in a prediction.
"""

import math
from collections.abc import Iterable

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
