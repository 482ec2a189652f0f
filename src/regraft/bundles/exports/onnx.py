"""ONNX in float32, as traced."""

from pathlib import Path

from regraft.contracts.export import Examples, ExportFormat


def write(graph: bytes, path: Path, examples: Examples) -> None:
    """Write the graph unchanged."""
    path.write_bytes(graph)


ENTRY = ExportFormat(
    title="ONNX, float32",
    file="model.onnx",
    write=write,
    engine="regraft.bundles.exports._run_onnx",
    engine_packages=("onnxruntime",),
    tolerance=1e-4,
)
