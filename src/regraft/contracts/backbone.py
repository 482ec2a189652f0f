"""What a backbone is: named stages that map a state to a state, a card, and weights.

A *state* is a record of named tensors. Each stage takes the whole record and returns the whole record for the next
one. Most families have one tensor, `hidden`; an encoder adds its mask, a class token lies inside `hidden`, a position
bias shared by all blocks travels beside it. A *cut*, named by the last frozen stage, parts what is frozen from what is
trained. There the record is stored, except its *transient* tensors, which are cheap, free of parameters and made again
by `complete`; *shared* tensors have no example axis and are stored once. A new backbone is a file in `backbones/`.

Letters: n examples, c channels, h and w height and width, t tokens, d features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regraft.errors import BadRequest, UnknownCut

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.contracts.family import SideHead

State = Mapping[str, Any]
"""Named tensors between two stages; the first axis is the example, except for shared ones."""
TAP = "tap."
"""What the names of taps in a state begin with."""
Views = Mapping[str, Any]
"""Named views of the top state: `pooled` (n d), `grid` (n c h w), `tokens` (n t d)."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network cut into stages. Holds modules, but is itself no module: only parts of it are ever trained."""

    start: "nn.Module"
    """Prepared inputs -> the first state: casts and normalises; no parameters, its constants are buffers."""
    stages: "Mapping[str, nn.Module]"
    """The stages by name, from the input upwards; each maps a state to a state."""
    views: Callable[[State], Views]
    """The top state -> its views; free of parameters."""
    source_head: "nn.Module | None" = None
    """The classifier that the weights were trained with: pooled (n d) -> logits (n k)."""
    side_heads: "Mapping[str, SideHead]" = field(default_factory=dict)
    """By stage."""
    transient: frozenset[str] = frozenset()
    """Names that are not stored at a cut."""
    shared: frozenset[str] = frozenset()
    """Names without an example axis, stored once."""
    complete: Callable[[State], State] = dict
    """Adds the transient tensors to a stored state."""
    generate: "Callable[[Network, State, str, nn.Module], Tensor] | None" = None
    """(network, state, the cut it lies at, head) -> what a decoder generates from it step by step (n t). Stages below
    the cut are run too, on what was generated so far. Of a state at an inner cut of the decoder, or at `output`, only
    what the encoder left counts: the decoder's own tokens in it are of the encoded target."""

    def run(self, state: State, *, after: str = "input", upto: str = "output", keep: Sequence[str] = ()) -> State:
        """The state at cut `upto`, from the (stored) state at cut `after`; transient tensors are left out.

        `keep` names taps, which stay in the state as `tap.NAME`: the `hidden` that a stage of that name gives (n c h w,
        or n t d), or what a stage itself offers under `tap.NAME` (a map before its pool, say). Those above `upto` are
        not reached yet; those at or below `after` must lie in `state`. At cut `input` the state is the prepared input
        itself.
        """
        first, last = self._position(after), self._position(upto)
        if first > last:
            raise BadRequest(f"There is no way from cut {after!r} back to cut {upto!r}.", fix="swap the two cuts.")
        if last == 0:
            return state
        wanted = {TAP + name for name in keep}
        taps = {name: value for name, value in state.items() if name in wanted}
        state = {name: value for name, value in state.items() if not name.startswith(TAP)}
        state = self.start(state) if first == 0 else self.complete(state)
        for stage in list(self.stages)[first:last]:
            made = self.stages[stage](state)
            # Taps travel beside the state, so that no stage has to know of those that a lower one gave.
            taps |= {name: value for name, value in made.items() if name in wanted}
            if TAP + stage in wanted:
                taps.setdefault(TAP + stage, made["hidden"])
            state = {name: value for name, value in made.items() if not name.startswith(TAP)}
        return {name: value for name, value in state.items() if name not in self.transient} | taps

    def __call__(self, inputs: State) -> "Tensor":
        """Logits (n k) of the source classifier, for comparison with the original network."""
        if self.source_head is None:
            raise BadRequest("This network has no source classifier.", fix="read its views instead.")
        return self.source_head(self.views(self.run(inputs))["pooled"])

    def below(self, cut: str) -> "dict[str, nn.Module]":
        """What is frozen at `cut`, by name: `start`, then the stages up to and including it."""
        return {"start": self.start} | dict(list(self.stages.items())[: self._position(cut)])

    def above(self, cut: str) -> "dict[str, nn.Module]":
        """The stages that are trained at `cut`, by name."""
        return dict(list(self.stages.items())[self._position(cut) :])

    def tensors(self) -> "dict[str, Tensor]":
        """Every parameter and buffer of the stages by canonical name `stage/parameter`, and `source/parameter`."""
        parts = dict(self.stages)
        if self.source_head is not None:
            parts["source"] = self.source_head
        return {f"{part}/{name}": tensor for part in parts for name, tensor in stage_tensors(parts[part]).items()}

    def modules(self) -> "list[nn.Module]":
        """Every module: start, stages, source classifier."""
        return [self.start, *self.stages.values(), *([self.source_head] if self.source_head else [])]

    def eval(self) -> "Network":
        """Put every module in evaluation mode and switch gradients off."""
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
    """Parameters and buffers of a module by name, without batch norm's counter of batches, which changes no output."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in named.items() if not name.endswith("num_batches_tracked")}
