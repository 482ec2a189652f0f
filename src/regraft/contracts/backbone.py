"""A backbone: a network split into named stages, a card of metadata, and weights.

A *state* is a mapping of named tensors. Each stage maps a state to the state of the next one. Most families need one
tensor, `hidden`; an encoder adds its mask and perhaps a position bias that all blocks share. A *cut* separates frozen
from trained stages and is named after the last frozen one: `input` freezes nothing, `output` everything but the head.
The *tail* is what is trained: the stages above the cut, and the head. The state is stored at the cut, without its
*transient* tensors, cheap values without parameters that `complete` recomputes. A *tap* is an intermediate activation
kept beside the state, for heads that read several levels.

To add a backbone, put a file in `backbones/` whose `ENTRY` is a `Family` (`contracts/family.py`): it builds a `Network`
and its *card*, the metadata (input size, stages, licence). Letters: n examples, c channels, h, w, t tokens, d features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regraft.errors import BadRequest, UnknownCut

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.contracts.family import SideHead

State = Mapping[str, Any]
"""Named tensors between two stages; the first axis is the example, except in shared tensors."""
TAP = "tap."
"""Prefix of the names of taps in a state."""
Readouts = Mapping[str, Any]
"""What a head can read of the last stage's state: `pooled` (n d), `grid` (n c h w) or `tokens` (n t d)."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network split into stages. It holds modules but is not one itself: only parts of it are ever trained."""

    start: "nn.Module"
    """Prepared inputs -> the first state. Casts and normalises; has buffers, but no parameters."""
    stages: "Mapping[str, nn.Module]"
    """Stages by name, from the input upwards; each maps a state to a state."""
    readouts: Callable[[State], Readouts]
    """The last stage's state -> its readouts; has no parameters."""
    source_head: "nn.Module | None" = None
    """The classifier the weights were trained with: pooled (n d) -> logits (n k)."""
    side_heads: "Mapping[str, SideHead]" = field(default_factory=dict)
    """Auxiliary heads, by the stage they read."""
    transient: frozenset[str] = frozenset()
    """Names of tensors that are not stored at a cut."""
    shared: frozenset[str] = frozenset()
    """Names of tensors without an example axis, stored once."""
    complete: Callable[[State], State] = dict
    """Add the transient tensors to a stored state."""
    generate: "Callable[[Network, State, str, nn.Module, Mapping[str, Any]], Tensor] | None" = None
    """(network, state, cut of the state, head, `Task.generation`) -> tokens (n t), generated step by step. Stages of
    the decoder below the cut run again on the tokens so far. Of a state inside the decoder or at `output`, only the
    encoder's output is read: its decoder tokens belong to the target and are ignored."""

    def run(self, state: State, *, after: str = "input", upto: str = "output", keep: Sequence[str] = ()) -> State:
        """Run the stages between two cuts: the state at `after` -> the state at `upto`, without transient tensors.

        At cut `input` the state is the prepared input. `keep` names taps to keep in the state as `tap.NAME`: the
        `hidden` of the stage of that name (n c h w, or n t d), or a tensor that a stage exposes as `tap.NAME`. Taps at
        or below `after` must be in `state`; taps above `upto` are skipped. Raises `UnknownCut` if there is no such
        stage, `BadRequest` if `upto` lies below `after`.
        """
        first, last = self._position(after), self._position(upto)
        if first > last:
            raise BadRequest(f"Cut {after!r} lies above cut {upto!r}.", fix="swap the two cuts.")
        if last == 0:
            return state
        wanted = {TAP + name for name in keep}
        taps = {name: value for name, value in state.items() if name in wanted}
        state = {name: value for name, value in state.items() if not name.startswith(TAP)}
        state = self.start(state) if first == 0 else self.complete(state)
        for stage in list(self.stages)[first:last]:
            made = self.stages[stage](state)
            # Taps travel beside the state, so that stages need not pass on the taps of lower ones.
            taps |= {name: value for name, value in made.items() if name in wanted}
            if TAP + stage in wanted:
                taps.setdefault(TAP + stage, made["hidden"])
            state = {name: value for name, value in made.items() if not name.startswith(TAP)}
        return {name: value for name, value in state.items() if name not in self.transient} | taps

    def __call__(self, inputs: State) -> "Tensor":
        """Return the logits (n k) of the source classifier, for comparison with the original network."""
        if self.source_head is None:
            raise BadRequest("This network has no source classifier.", fix="use its readouts instead.")
        return self.source_head(self.readouts(self.run(inputs))["pooled"])

    def below(self, cut: str) -> "dict[str, nn.Module]":
        """Return the frozen modules at `cut`, by name: `start`, then the stages up to and including it."""
        return {"start": self.start} | dict(list(self.stages.items())[: self._position(cut)])

    def above(self, cut: str) -> "dict[str, nn.Module]":
        """Return the trained stages at `cut`, by name."""
        return dict(list(self.stages.items())[self._position(cut) :])

    def tensors(self) -> "dict[str, Tensor]":
        """Return the stages' parameters and buffers by canonical name `stage/parameter`, and `source/parameter`."""
        parts = dict(self.stages)
        if self.source_head is not None:
            parts["source"] = self.source_head
        return {f"{part}/{name}": tensor for part in parts for name, tensor in stage_tensors(parts[part]).items()}

    def modules(self) -> "list[nn.Module]":
        """Return all modules: start, stages, source classifier."""
        return [self.start, *self.stages.values(), *([self.source_head] if self.source_head else [])]

    def eval(self) -> "Network":
        """Put all modules in evaluation mode and switch gradients off."""
        for module in self.modules():
            module.eval().requires_grad_(False)
        return self

    def _position(self, cut: str) -> int:
        names = list(self.stages)
        if cut in ("input", "output"):
            return 0 if cut == "input" else len(names)
        if cut not in names:
            raise UnknownCut("This backbone", cut, ["input", *names[:-1], "output"])
        return names.index(cut) + 1


def stage_tensors(module: "nn.Module") -> "dict[str, Tensor]":
    """Return a module's parameters and buffers by name, without `num_batches_tracked`, which no output depends on."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in named.items() if not name.endswith("num_batches_tracked")}
