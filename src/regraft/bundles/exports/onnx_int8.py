"""ONNX in 8-bit integers, by ONNX Runtime's static quantisation.

Activations have 8 bits, weights 7 bits and a scale per channel: with 8, sums of products overflow on x86 CPUs without
VNNI instructions, and the same file would predict differently there. Source of that rule: ONNX Runtime's guide to
quantisation.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.export import Examples, ExportFormat

NAMES = ("onnx-int8",)
QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip")
"""Operators to quantise."""
WEIGHING = ("Conv", "Gemm", "MatMul")
"""Operators with weights."""
SELECTING = ("TopK", "NonMaxSuppression")
"""Operators whose results select others."""


def write(graph: bytes, path: Path, examples: Examples) -> None:
    """Write the graph quantised, except what `_exact` names, with activation ranges from the examples."""
    import onnx

    from regraft.activations.runner import onnx_runtime

    onnx_runtime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[dict[str, np.ndarray]] = iter(
                {name: array[None] for name, array in one.items()} for one in examples
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    simple, level = path.with_name("simple.onnx"), logging.root.manager.disable
    logging.disable(logging.WARNING)  # it tells of every shared bias
    try:
        quant_pre_process(onnx.load_from_string(graph), str(simple), skip_symbolic_shape=True)
        exact = _exact(onnx.load(str(simple)).graph.node)
        quantize_static(
            simple, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=exact,
        )  # fmt: skip
    finally:
        logging.disable(level)
        simple.unlink(missing_ok=True)


def _exact(nodes: Sequence[Any]) -> list[str]:
    """Return the names of the nodes to leave as they are: those of the logits; and, where outputs are selected among
    (boxes), all that compute with a selection, and those on the way to it that lead to no other layer with weights."""
    names, chosen, needed = [node.name for node in nodes if "logits" in node.output], set[str](), set[str]()
    if not any(node.op_type in SELECTING for node in nodes):
        return names
    for node in nodes:  # in topological order
        if node.op_type in SELECTING or chosen.intersection(node.input):
            chosen.update(node.output)
    for node in reversed(nodes):
        weighs = node.op_type in WEIGHING and not chosen.intersection(node.output)
        if weighs or needed.intersection(node.output):
            needed.update(node.input)
        if not weighs and not needed.intersection(node.output):
            names.append(node.name)
    return names


ENTRIES = {
    "onnx-int8": ExportFormat(
        title="ONNX, 8-bit integers",
        file="model.onnx",
        write=write,
        engine="regraft.bundles.exports._run_onnx",
        engine_packages=("onnxruntime",),
        tolerance=0.05,
        rounds=True,
        calibrates=True,
    )
}
