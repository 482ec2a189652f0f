"""A saved model as one ONNX graph: prepared inputs in, logits and the task's outputs out.

The exporter is that of the activation store, which compares with torch before it hands anything over.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from regraft.activations.export import Prefix, Refused, exported
from regraft.errors import BadRequest
from regraft.tasks.linear import linear

if TYPE_CHECKING:
    from regraft.bundles.bundle import Bundle


class Whole(Prefix):
    """The network, its head and what the task makes of the logits."""

    def __init__(self, bundle: "Bundle") -> None:
        model = bundle.model
        super().__init__(
            model.backbone.network,
            ("output",),
            view=model.task.reads.readout,
            inputs=tuple(bundle.modality.shapes(bundle.card.preparation)),
        )
        self.head, self.task, self.temperature = model.module, linear(model.task), model.temperature

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = self.states(dict(zip(self.inputs, tensors, strict=True)))["output"]
        logits = self.head(state[self.view])
        self.outputs = ("logits", "outputs")
        return logits, self.task.exported(logits, self.temperature)


def graph_of(bundle: "Bundle", threads: int) -> bytes:
    """The model as ONNX: inputs named as the record's arrays with a free first axis, `logits` and `outputs`.

    Raises:
        BadRequest: the task is not linear, inputs differ in length, or the network cannot be traced.
    """
    shapes = bundle.modality.shapes(bundle.card.preparation)
    if any(None in shape for shape, _ in shapes.values()):
        raise BadRequest(
            f"Inputs of {bundle.card.name} differ in length, and exports take inputs of one shape.",
            fix="predict with regraft itself.",
        )
    try:
        return exported(Whole(bundle).eval(), shapes, threads)[0]
    except Refused as reason:
        raise BadRequest(f"{bundle.card.name} cannot be exported: {reason}", fix="choose another backbone.") from reason
