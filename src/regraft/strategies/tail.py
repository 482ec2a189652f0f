"""The tail: the stages above the cut, the head and, on request, side heads and extra terms of the loss.

Letters: n examples, c outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.contracts.backbone import TAP, Network, State, stage_tensors
from regraft.contracts.family import SideHead
from regraft.errors import BadRequest

BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common base has no public name
STATISTICS = ("running_mean", "running_var")
Loss = Callable[[Any, Any], Tensor]
"""(head's output, encoded targets) -> a scalar."""
Change = Callable[[State], State]
"""Transformation of the state before the stages (mixup, say)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """Outputs of a tail for one batch."""

    logits: Any
    """The head's output: logits (n c), or a mapping of tensors."""
    features: Any
    """Inputs of the head: a tensor, or a mapping of tensors."""
    hidden: Mapping[str, Tensor]
    """The state's `hidden` after every stage, by name."""
    sides: Mapping[str, Tensor]
    """The side heads' logits (n c) by stage; in training mode only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One batch of a training step."""

    state: State
    """The stored state at the cut."""
    passed: Passed
    """The tail's outputs."""
    targets: Any
    """Encoded targets, with the row on the first axis."""
    loss: Loss
    """The loss of this step."""


class Term(nn.Module, ABC):
    """An extra term of the training loss. Its parameters, if any, are trained with the highest stage's learning rate;
    they are kept in checkpoints, but not in bundles."""

    min_rows: int = 1
    """Minimum number of rows of a training batch."""
    replaces_decay: bool = False
    """Whether it replaces weight decay, which is then off."""
    notes: tuple[str, ...] = ()
    """Notices for the user: whole sentences."""
    facts: Mapping[str, Any]
    """Facts for the report, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = {}

    @abstractmethod
    def forward(self, tail: "Tail", batch: Batch) -> Float[Tensor, ""]:
        """Return the weighted term for one batch."""


def side_heads_above(network: Network, cut: str) -> dict[str, SideHead]:
    """Return the network's side heads above the cut, by the stage they read.

    Raises:
        BadRequest: there are none.
    """
    above = network.above(cut)
    found = {name: side for name, side in network.side_heads.items() if name in above}
    if not found:
        have = ", ".join(network.side_heads) or "none"
        raise BadRequest(
            f"Side heads are enabled, but none is above the cut {cut!r} (this backbone has them at: {have}).",
            fix="choose a lower cut, or leave out side heads.",
        )
    return found


class Tail(nn.Module):
    """The trained part as one module: stored state at the cut -> the head's output, logits (n c) for most tasks.

    It holds the stages of `network` above the cut themselves, not copies, and must be their only user.
    """

    def __init__(
        self,
        network: Network,
        cut: str,
        head: nn.Module,
        readout: str,
        *,
        batch_norm: str,
        taps: Sequence[str] = (),
        side_outputs: int = 0,
        guided: bool = False,
    ) -> None:
        """The head reads `readout` and, if given, `taps`; if `guided`, it is given the encoded targets as well.
        `batch_norm` is `frozen`, `train` or `recalibrate`; `side_outputs` > 0 attaches the side heads above the cut.

        Raises:
            BadRequest: side heads are requested, but none lies above the cut.
        """
        super().__init__()
        self.cut, self.readout, self.head, self.batch_norm = cut, readout, head, batch_norm
        self.guided, self.network, self.taps = guided, network, tuple(TAP + name for name in taps)
        above = network.above(cut)
        self.names = tuple(above)
        self.unfrozen = len(above)
        self.stages = nn.ModuleList(above.values())
        self.start = network.start if cut == "input" else None
        self._readouts, self._complete, self.shared = network.readouts, network.complete, network.shared
        sides = side_heads_above(network, cut) if side_outputs else {}
        self.side_weights = {name: side.weight for name, side in sides.items()}
        self.side_heads = nn.ModuleList(side.build(side_outputs) for side in sides.values())
        self.terms = nn.ModuleDict()
        """Extra terms of the loss, by their name in the curve and the report."""
        self.requires_grad_(True)

    def forward(self, state: State) -> Any:
        return self.head(self.features(state))

    def features(self, state: State) -> Any:
        """Return the inputs of the head."""
        return self._features(state, None)

    def passed(self, state: State, change: Change | None = None, targets: Any = None) -> Passed:
        """Run the tail, with `change` applied to the state; return the logits and intermediate results."""
        hidden: dict[str, Tensor] = {}
        features = self._features(state, hidden, change)
        side_heads = dict(zip(self.side_weights, self.side_heads, strict=True)) if self.training else {}
        sides = {name: side_head(hidden[name]) for name, side_head in side_heads.items()}
        logits = self.head(features, targets) if self.guided else self.head(features)
        return Passed(logits=logits, features=features, hidden=hidden, sides=sides)

    def begun(self, state: State) -> State:
        """Return the stored state as the input of the lowest trained stage, without transient tensors."""
        return state if self.start is None else self.start(state)

    def _features(self, state: State, hidden: dict[str, Tensor] | None, change: Change | None = None) -> Any:
        """Return the inputs of the head; if given, `hidden` collects the output of every stage."""
        taps = {name: state[name] for name in self.taps if name in state}  # those of stages below the cut
        state = self.begun({name: value for name, value in state.items() if not name.startswith(TAP)})
        if change is not None:
            state = change(state)
        if self.start is None and self.names:
            state = self._complete(state)
        for name, stage in zip(self.names, self.stages, strict=True):
            state = stage(state)
            if hidden is not None:
                hidden[name] = state["hidden"]
            for tap in self.taps:
                if tap in state or tap == TAP + name:
                    taps[tap] = state.get(tap, state["hidden"])
        read: Tensor = self._readouts(state)[self.readout] if self.names else state[self.readout]
        if not self.taps:
            return read
        return {self.readout: read} | {name.removeprefix(TAP): taps[name] for name in self.taps}

    def gradients(self) -> dict[str, Tensor]:
        """Return the root mean square of the gradient of each trained stage, as `gradient STAGE`."""
        found = {}
        for name, stage in zip(self.names, self.stages, strict=True):
            known = [one.grad.float().flatten() for one in stage.parameters() if one.grad is not None]
            if known:
                found[f"gradient {name}"] = torch.cat(known).square().mean().sqrt()
        return found

    def unfreeze(self, count: int) -> None:
        """Train the highest `count` stages and the heads; freeze the others, in evaluation mode."""
        self.unfrozen = count
        for depth, stage in enumerate(reversed(self.stages)):
            stage.requires_grad_(depth < count)

    def train(self, mode: bool = True) -> "Tail":
        """Switch to training mode; batch norm keeps its statistics unless they are trained."""
        super().train(mode)
        for stage in self.stages[: len(self.stages) - self.unfrozen]:
            stage.eval()
        if self.batch_norm != "train":
            for norm in self.norms():
                norm.eval()
        return self

    def norms(self) -> list[BATCH_NORM]:
        """Return the batch norms of the stages."""
        return [module for module in self.stages.modules() if isinstance(module, BATCH_NORM)]

    @property
    def min_rows(self) -> int:
        """Minimum number of rows of a training batch: two if batch norm estimates statistics from it, or what a term
        needs."""
        measuring = (self.batch_norm == "train" and self.norms()) or any(
            isinstance(module, BATCH_NORM) for module in self.side_heads.modules()
        )
        return max([2 if measuring else 1, *(term.min_rows for term in self.each_term().values())])

    def each_term(self) -> dict[str, Term]:
        """Return the terms by name, typed (torch's ModuleDict is not)."""
        return {name: term for name, term in self.terms.items() if isinstance(term, Term)}

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of a bundle, by canonical name, without side heads and terms."""
        parts: dict[str, nn.Module] = {**dict(zip(self.names, self.stages, strict=True)), "head": self.head}
        return {f"{part}/{name}": tensor for part in parts for name, tensor in stage_tensors(parts[part]).items()}

    def frozen_names(self) -> frozenset[str]:
        """Return the canonical names of tensors above the cut that do not change: batch-norm statistics, and stages
        that are still frozen."""
        frozen = self.names[: len(self.names) - self.unfrozen]
        still = STATISTICS if self.batch_norm == "frozen" else ()
        return frozenset(name for name in self.tensors() if name.partition("/")[0] in frozen or name.endswith(still))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load tensors by canonical name; others keep their values."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                if name in tensors:
                    tensor.copy_(tensors[name])
