"""Experiment trackers: they log a run's metrics during training to TensorBoard, MLflow and the like.

A file in `reports/trackers/` defines one as `ENTRY`: a class that takes the run's folder.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.registry import Shelf


class Tracker(ABC):
    """Logs one run; nothing is created before the first call."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            MissingExtra: its package is not installed.
        """
        self.folder = folder

    @abstractmethod
    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name after this number of optimiser steps, and flush them."""

    @abstractmethod
    def finished(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Log the recipe by field, and the report's metrics."""


TRACKERS: Shelf[type[Tracker]] = Shelf("tracker", "regraft.reports.trackers")
