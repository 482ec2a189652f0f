"""ONNX in float16: half the size; for accelerators, since CPUs compute it in float32 anyway.

Inputs and outputs are the same as in `onnx`.
"""

from pathlib import Path

from regraft.contracts.export import Examples, ExportFormat

NAMES = ("onnx-fp16",)


def write(graph: bytes, path: Path, examples: Examples) -> None:
    """Write the graph with weights and activations in float16, except the normalisation of inputs and everything after
    the logits."""
    import onnx

    from regraft.activations.runner import onnx_runtime

    onnx_runtime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load_from_string(graph)
    onnx.save_model(convert_float_to_float16(model, keep_io_types=True), str(path))


ENTRIES = {
    "onnx-fp16": ExportFormat(
        title="ONNX, float16",
        file="model.onnx",
        write=write,
        engine="regraft.bundles.exports._run_onnx",
        engine_packages=("onnxruntime",),
        tolerance=1e-2,
        rounds=True,
    )
}
