"""A saved model as one ONNX graph: from inputs prepared outside the graph to the outputs of the head and the task.

Uses the exporter of the activation store, which compares the result with torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from regraft.activations.export import Prefix, Refused, Shapes, exported
from regraft.activations.slots import MASK
from regraft.contracts.backbone import TAP
from regraft.errors import BadRequest

if TYPE_CHECKING:
    from regraft.bundles.bundle import Bundle


class Whole(Prefix):
    """The part of the preparation inside the graph, the network, its head, and the task's outputs."""

    def __init__(self, bundle: "Bundle") -> None:
        model, taps = bundle.model, bundle.card.taps_at(bundle.model.task.reads.strides)
        super().__init__(
            model.backbone.network,
            ("output",),
            view=model.task.reads.readout,
            inputs=tuple(inputs_of(bundle)),
            keep={"output": taps},
        )
        self.head, self.task, self.temperature = model.module, model.task, model.temperature
        self.inside, self.selects = bundle.modality.inside(bundle.card.preparation), frozenset(self.task.selects)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, tensors, strict=True))
        placed = {name: given.pop(name) for name in self.task.places}
        state = self.states(given if self.inside is None else self.inside(given))["output"]
        read = {name.removeprefix(TAP): one for name, one in state.items()}
        output = self.head(read if self.task.reads.strides else read[self.view])
        made = dict(output) if isinstance(output, Mapping) else {"logits": output}
        made |= self.task.graph(output, self.temperature, placed)
        self.outputs = tuple(made)
        return tuple(made.values())


def inputs_of(bundle: "Bundle") -> Shapes:
    """Return shapes and dtypes of the graph's inputs, without the row axis: a record, and placements for the task."""
    modality, preparation = bundle.modality, bundle.card.preparation
    places = modality.placements(preparation) if bundle.model.task.places else {}
    return {**modality.shapes(preparation), **{name: places[name] for name in bundle.model.task.places}}


def graph_of(bundle: "Bundle", threads: int) -> bytes:
    """Export the model to ONNX, with named inputs and a dynamic first axis; outputs are those of the head (`logits`, or
    by its own names) and of `Task.graph`.

    Raises:
        BadRequest: the task has no graph, inputs differ in length without a mask, or the network cannot be traced.
    """
    shapes = inputs_of(bundle)
    if not bundle.model.task.generates and MASK not in shapes and any(None in shape for shape, _ in shapes.values()):
        raise BadRequest(
            f"Inputs of {bundle.card.name} differ in length, and the network has no mask to mark padding.",
            fix="predict with Regraft itself.",
        )
    try:
        return exported(Whole(bundle).eval(), shapes, threads)[0]
    except Refused as reason:
        raise BadRequest(f"{bundle.card.name} cannot be exported: {reason}", fix="choose another backbone.") from reason
