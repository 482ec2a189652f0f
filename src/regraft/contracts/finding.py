"""What a check found: of the data before training, or of a model before it is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regraft import records


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check has to say."""

    check: str
    """What was looked at, in a few words."""
    severity: Literal["stop", "warn", "info"]
    """`stop` ends the run before anything is written; `warn` should be read; `info` is good to know."""
    message: str
    """What was found and what was expected, in whole sentences."""
    fix: str = ""
    """What to do about it; empty where nothing is to be done."""
    examples: tuple[str, ...] = ()
    """Ids of the examples that it is about."""
    score: float | None = None
    """The figure that the check judges by, in its own unit; None where it has none."""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        return records.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Finding":
        """What `to_json` wrote.

        Raises:
            TypeError, ValueError: it is not that.
        """
        return records.from_json(cls, value)
