"""What is left in float32 by the 8-bit export: the logits, and whatever selects among boxes or computes with them."""

from collections.abc import Sequence

from onnx import NodeProto
from onnx.helper import make_node

from regraft.bundles.exports.onnx_int8 import _exact


def named(*rows: tuple[str, str, Sequence[str]]) -> list[NodeProto]:
    """Nodes called as their output: operator, output, inputs."""
    return [make_node(operator, list(inputs), [name], name=name) for operator, name, inputs in rows]


def test_a_classifier_keeps_the_layer_of_its_logits() -> None:
    nodes = named(("Conv", "a", ["x"]), ("Relu", "b", ["a"]), ("Concat", "c", ["b", "a"]), ("Gemm", "logits", ["c"]))
    assert _exact(nodes) == ["logits"]


def test_a_detector_keeps_how_boxes_are_decoded_selected_and_judged() -> None:
    nodes = named(
        ("Conv", "map", ["x"]), ("Add", "sum", ["map", "x"]), ("Conv", "deltas", ["sum"]),
        ("Add", "boxes", ["deltas", "anchors"]), ("Conv", "scores", ["sum"]), ("TopK", "best", ["scores"]),
        ("Gather", "near", ["boxes", "best"]), ("Gemm", "second", ["near"]), ("Relu", "third", ["second"]),
        ("Gemm", "classes", ["third"]),
    )  # fmt: skip
    assert set(_exact(nodes)) == {"boxes", "best", "near", "second", "third", "classes"}
