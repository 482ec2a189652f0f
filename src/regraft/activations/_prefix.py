"""The frozen part of a network as one function of arrays.

Letters: b rows of a batch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from regraft.activations.slots import Slot
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network, State

Shapes = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape of a row and dtype of each input, by name."""


class Prefix(nn.Module):
    """From the stored state at cut `after` to the stored states at `cuts`, in one pass.

    At `output` the state is the view of the top state that the head reads, under the view's name. Takes and returns
    tensors in a fixed order, as an exporter wants them: `inputs` names those taken; `outputs`, known after the first
    call, those returned, as `cut/name`.
    """

    def __init__(
        self, network: Network, cuts: Sequence[str], *, view: str, inputs: Sequence[str], after: str = "input"
    ) -> None:
        super().__init__()
        self.network = network
        self.parts = nn.ModuleList(network.modules())
        self.cuts = tuple(cuts)
        self.view = view
        self.inputs = tuple(inputs)
        self.after = after
        self.outputs: tuple[str, ...] = ()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        states = self.states(dict(zip(self.inputs, tensors, strict=True)))
        flat = {f"{cut}/{name}": value for cut, state in states.items() for name, value in state.items()}
        self.outputs = tuple(flat)
        return tuple(flat.values())

    def states(self, state: State) -> dict[str, State]:
        """The stored state at each cut."""
        found, at = {}, self.after
        for cut in self.cuts:
            state, at = self.network.run(state, after=at, upto=cut), cut
            found[cut] = state if cut != "output" else {self.view: self.network.views(state)[self.view]}
        return found


def example_tensors(inputs: Shapes, batch: int) -> tuple[Tensor, ...]:
    """Seeded tensors of the right shapes: noise for bytes and floats, ones for masks and numbers of words."""
    made = []
    generator = torch.Generator().manual_seed(0)
    for shape, dtype in inputs.values():
        kind = getattr(torch, dtype)
        if kind is torch.uint8:
            made.append(torch.randint(0, 256, (batch, *shape), generator=generator, dtype=kind))
        elif kind.is_floating_point:
            made.append(torch.rand((batch, *shape), generator=generator, dtype=kind))
        else:
            made.append(torch.ones((batch, *shape), dtype=kind))
    return tuple(made)


def slots_at(backbone: Backbone, cut: str, *, inputs: Shapes, view: str) -> list[Slot]:
    """What a row of the stored state at `cut` is made of, as seen by running the network on an example."""
    network = backbone.network
    prefix = Prefix(network, (cut,), view=view, inputs=tuple(inputs)).eval()
    with torch.no_grad():
        tensors = prefix(*example_tensors(inputs, 2))
    slots = []
    for output, tensor in zip(prefix.outputs, tensors, strict=True):
        name = output.removeprefix(f"{cut}/")
        shared = name in network.shared
        shape = tuple(tensor.shape) if shared else tuple(tensor.shape[1:])
        slots.append(Slot(name=name, shape=shape, dtype=str(tensor.dtype).removeprefix("torch."), shared=shared))
    return slots
