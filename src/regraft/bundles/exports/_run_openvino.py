"""Runs an OpenVINO model. Part of an export's `predict.py`, so it does not import regraft."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def opened(folder: Path, threads: int = 0) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function from batches of prepared inputs to the outputs of the model in `folder`, by name."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # so that it cannot be imported
    import openvino

    # Left to itself, OpenVINO computes in bfloat16 where the processor has units for it.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", options).create_infer_request()
    return lambda feeds: {
        name: np.array(array) for one, array in request.infer(feeds).items() for name in one.get_names()
    }
