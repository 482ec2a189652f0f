"""What an export format is: how the traced graph becomes a file, and what runs that file without regraft.

One file in `bundles/exports/` defines one format. Imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regraft.registry import Shelf

Examples = Sequence[Mapping[str, np.ndarray]]
"""Prepared inputs, each as named arrays without a row axis."""


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """One entry of the shelf of formats."""

    title: str
    """What it is, in a few words."""
    file: str
    """Name of the file with the network."""
    write: Callable[[bytes, Path, Examples], None]
    """(graph as ONNX, the file to write, examples to calibrate with); raises `MissingExtra`."""
    engine: str
    """The module whose text goes into `predict.py`: it defines `opened(folder, threads)`, which returns a function from
    batches of named arrays to the graph's outputs by name, and imports nothing of regraft."""
    engine_packages: tuple[str, ...]
    """What pip must install for that."""
    tolerance: float
    """Largest difference of its logits between machines, relative to the largest of them; where nothing is rounded,
    from the model's own as well."""
    rounds: bool = False
    """Whether numbers are rounded to fewer bits than float32 has: then not difference but accuracy decides."""
    calibrates: bool = False
    """Whether `write` needs examples."""


EXPORTS: Shelf[ExportFormat] = Shelf("export format", "regraft.bundles.exports")
