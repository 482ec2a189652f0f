"""Runs an ONNX file. Part of an export's `predict.py`, so it does not import regraft."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


def opened(folder: Path, threads: int = 0) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function from batches of prepared inputs to the outputs of the model in `folder`, by name."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))
