"""A prefix written as ONNX, and compared with torch before it is trusted."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from regraft.activations._backends import BATCH, ROWS_AXIS, OnnxRunner, onnx_faults
from regraft.activations._prefix import Prefix, Shapes, example_tensors

TOLERANCE = 1e-4
"""Largest difference between an export and torch, relative to the largest value of a tensor; 2e-6 is usual."""

TRACED = 2
"""Rows with which the network is traced and compared; one alone might be taken for an axis to broadcast."""

_FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    ImportError,
)
"""What torch's tracing exporter is seen to raise on networks that it cannot take."""


class Refused(Exception):  # never leaves the room
    """Why a prefix cannot be run by ONNX Runtime, as a sentence."""


def exported(prefix: Prefix, shapes: Shapes, threads: int) -> tuple[bytes, bool]:
    """The prefix as ONNX with a free first axis, and whether a row alone gives the same bits as in a batch.

    Raises:
        Refused: the export fails, cannot be run, or differs from torch.
    """
    examples = example_tensors(shapes, BATCH)
    few = tuple(tensor[:TRACED] for tensor in examples)
    with torch.no_grad():
        outputs = prefix(*few)
    expected = dict(zip(prefix.outputs, outputs, strict=True))
    data = _written(prefix, tuple(shapes), few)
    inputs = {name: tensor.numpy() for name, tensor in zip(shapes, examples, strict=True)}
    try:
        runner = OnnxRunner(data, shared=prefix.network.shared, threads=threads, alone=False)
        found = runner.run(inputs)
    except onnx_faults() as error:
        raise Refused(f"the exported network cannot be run ({_first_line(error)}).") from error
    shared = prefix.network.shared
    for name, tensor in expected.items():
        _compare(name, found[name] if name.rpartition("/")[2] in shared else found[name][:TRACED], tensor.numpy())
    return data, _alone(runner, inputs, found, shared)


def _written(prefix: Prefix, names: tuple[str, ...], examples: tuple[Tensor, ...]) -> bytes:
    free = [*names, *(name for name in prefix.outputs if name.rpartition("/")[2] not in prefix.network.shared)]
    buffer = io.BytesIO()
    try:
        with _traceable(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                prefix,
                examples,
                buffer,  # type: ignore[arg-type]  # a buffer is as good as a path
                input_names=list(names),
                output_names=list(prefix.outputs),
                dynamic_axes={name: {0: ROWS_AXIS} for name in free},
                opset_version=17,
                dynamo=False,
            )
    except (*_FAULTS, torch.onnx.errors.OnnxExporterError) as error:
        raise Refused(f"the export failed ({_first_line(error)}).") from error
    return buffer.getvalue()


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise Refused(f"the exported network gives {found.dtype} {found.shape} at {name}, not {expected.dtype} "
                      f"{expected.shape}.")  # fmt: skip
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    if not error <= TOLERANCE:
        raise Refused(f"the exported network differs from torch by {error:.1e} of the largest value at {name}.")


def _alone(
    runner: OnnxRunner, inputs: dict[str, np.ndarray], found: dict[str, np.ndarray], shared: frozenset[str]
) -> bool:
    """Whether first and last row, each by itself, give the bits that they gave in the batch."""
    for row in (0, BATCH - 1):
        try:
            one = runner.run({name: array[row : row + 1] for name, array in inputs.items()})
        except onnx_faults():
            return False
        for name, array in found.items():
            wanted = array if name.rpartition("/")[2] in shared else array[row : row + 1]
            if not np.array_equal(one[name], wanted):
                return False
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def _traceable() -> Iterator[None]:
    """While tracing, sizes are tensors (so shapes are not checked), and fused attention cannot be exported."""
    import jaxtyping

    checked, fast_path = jaxtyping.config.jaxtyping_disable, torch.backends.mha.get_fastpath_enabled()
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", checked)
        torch.backends.mha.set_fastpath_enabled(fast_path)
