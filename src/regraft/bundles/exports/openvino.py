"""OpenVINO's own format in float32, converted from the ONNX graph."""

from pathlib import Path

from regraft.contracts.export import Examples, ExportFormat
from regraft.errors import BadRequest, MissingExtra, out_of_memory


def write(graph: bytes, path: Path, examples: Examples) -> None:
    """Write `model.xml`, with its weights in `model.bin`.

    Raises:
        MissingExtra: OpenVINO is not installed.
        BadRequest: OpenVINO cannot read the graph.
    """
    from regraft.activations.openvino import library

    try:
        openvino = library()
    except ModuleNotFoundError as error:
        raise MissingExtra("openvino", "openvino", "An export for OpenVINO") from error
    try:
        model = openvino.Core().read_model(graph)
    except Exception as error:  # OpenVINO's errors have no common base class
        if out_of_memory(error):
            raise
        said = str(error).strip().splitlines()[-1][:200]
        raise BadRequest(
            f"OpenVINO cannot read this network ({said}).", fix="use --to onnx, or fit with a larger --input-px."
        ) from error
    openvino.save_model(model, str(path), compress_to_fp16=False)


ENTRY = ExportFormat(
    title="OpenVINO, float32",
    file="model.xml",
    write=write,
    engine="regraft.bundles.exports._run_openvino",
    engine_packages=("openvino",),
    tolerance=1e-4,
)
