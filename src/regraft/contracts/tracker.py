"""What a tracker is: it writes the numbers of a run, while it trains, for a program that shows the runs of many tools.

One file in `reports/trackers/` defines one, as `ENTRY`: a class that is made with the run's folder.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.registry import Shelf


class Tracker(ABC):
    """Written to while a run trains; nothing is made before the first call."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            MissingExtra: its package is not installed.
        """
        self.folder = folder

    @abstractmethod
    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name after so many steps of the optimiser; they can be read at once."""

    @abstractmethod
    def finished(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """The recipe by field, and what the report measured by metric."""


TRACKERS: Shelf[type[Tracker]] = Shelf("tracker", "regraft.reports.trackers")
