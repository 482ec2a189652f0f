"""Preparation of tables in exports, with numpy only.

The functions are copied into the `predict.py` of an export; so they must not use regraft. Standardisation is part of
the graph.
"""

import csv
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np

from regraft.words import EMPTY


def inputs(path: Path) -> list[dict[str, str]]:
    """Return the rows of a UTF-8 table with column names in its first line, delimited by commas, semicolons or tabs."""
    csv.field_size_limit(1 << 30)
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        file.seek(0)
        names, *rows = csv.reader(file, delimiter=max(",;\t", key=header.count))
    return [dict(zip(map(str.strip, names), row, strict=True)) for row in rows if row]


def prepare(given: dict[str, Any], preparation: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Return a row, given as numbers or text by column, as `values`: the network's columns in order, NaN for empty
    cells."""
    found = []
    for name in preparation["columns"]:
        if name not in given and preparation["missing"] != "columns":
            raise ValueError(f"the column {name!r} is missing")
        cell = str(given.get(name, "")).strip()
        found.append(float("nan") if cell.lower() in EMPTY else float(cell))
        if preparation["missing"] == "none" and found[-1] != found[-1]:
            raise ValueError(f"the cell of {name!r} is empty")
    return {"values": np.array(found, dtype=np.float64).astype(np.float32)}


SCRIPT = "\n\n".join((f"EMPTY = {sorted(EMPTY)}\n", *(getsource(one) for one in (inputs, prepare))))
"""The source code."""
