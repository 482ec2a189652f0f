"""Export formats: how to write the traced graph to a file, and how to run that file without regraft.

A file in `bundles/exports/` defines one format as `ENTRY`. Does not import torch.
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
    """A file format for other runtimes."""

    title: str
    """Short description."""
    file: str
    """Name of the file with the network."""
    write: Callable[[bytes, Path, Examples], None]
    """(ONNX graph, output file, calibration examples) -> None; raises `MissingExtra`."""
    engine: str
    """Module whose source goes into `predict.py`. It defines `opened(folder, threads)`, which returns a function from
    batches of named arrays to the graph's outputs by name, and does not import regraft."""
    engine_packages: tuple[str, ...]
    """PyPI packages that the engine needs."""
    tolerance: float
    """Tolerance of logits relative to the largest: between machines and, if the format does not round, from the model's
    own."""
    rounds: bool = False
    """Whether it uses fewer bits than float32; accuracy is then compared instead of logits."""
    calibrates: bool = False
    """Whether `write` needs calibration examples."""


EXPORTS: Shelf[ExportFormat] = Shelf("export format", "regraft.bundles.exports")
