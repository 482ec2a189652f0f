"""The predictions of a run for its test examples."""

import csv
from pathlib import Path

import numpy as np


def right_in(run: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Ids of a run's test examples, in order, whether each was predicted right, and its group."""
    with (run / "predictions.csv").open(newline="") as file:
        rows = sorted((row for row in csv.DictReader(file) if row["split"] == "test"), key=lambda row: row["id"])
    right = np.array([row["label"] == row["predicted"] for row in rows], dtype=float)
    return [row["id"] for row in rows], right, [row["group"] or row["id"] for row in rows]
