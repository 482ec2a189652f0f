"""What is trained: the stages above a cut, the head, and side heads where asked for.

Letters: n examples, c outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.contracts.backbone import Network, SideHead, State, stage_tensors
from regraft.errors import BadRequest

if TYPE_CHECKING:
    from regraft.strategies.regularisers._contract import Regulariser

BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common base has no public name
STATISTICS = ("running_mean", "running_var")
PROJECTOR = "projector"
"""Its name among the sides: the one that reads the features. No stage is called so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """What a tail made of one batch."""

    logits: Tensor
    """The head's (n c)."""
    features: Tensor
    """What the head read."""
    hidden: Mapping[str, Tensor]
    """The state's `hidden` after every stage, by name."""
    sides: Mapping[str, Tensor]
    """The side heads' logits (n c) by stage; in training mode only."""


def side_heads_above(network: Network, cut: str) -> dict[str, SideHead]:
    """The network's side heads above the cut, by the stage that they read.

    Raises:
        BadRequest: there are none.
    """
    above = network.above(cut)
    found = {name: side for name, side in network.side_heads.items() if name in above}
    if not found:
        have = ", ".join(network.side_heads) or "none"
        raise BadRequest(
            f"Side heads were asked for, but none lies above the cut {cut!r} (this backbone has them at: {have}).",
            fix="choose a lower cut, or leave side heads out.",
        )
    return found


class Tail(nn.Module):
    """The trained part as one module: stored state at the cut -> logits (n c).

    Of `network` it uses the stages above the cut themselves, not copies; it must own them.
    """

    def __init__(
        self,
        network: Network,
        cut: str,
        head: nn.Module,
        view: str,
        *,
        batch_norm: str,
        side_outputs: int = 0,
        projector: nn.Module | None = None,
        contrast: nn.Module | None = None,
    ) -> None:
        """`batch_norm` is `frozen`, `train` or `recalibrate`; `side_outputs` > 0 attaches the side heads above the cut.
        With a `projector` (features -> logits) that alone shapes the features; the head learns on them as they are.
        `contrast` (features -> a loss) compares the two views that every example is then in the batch with.

        Raises:
            BadRequest: side heads are asked for where none lies above the cut.
        """
        super().__init__()
        self.cut, self.view, self.head, self.batch_norm = cut, view, head, batch_norm
        above = network.above(cut)
        self.names = tuple(above)
        self.awake = len(above)
        self.stages = nn.ModuleList(above.values())
        self.start = network.start if cut == "input" else None
        self._views, self._complete, self.shared = network.views, network.complete, network.shared
        taps = side_heads_above(network, cut) if side_outputs else {}
        self.side_weights = {name: tap.weight for name, tap in taps.items()}
        self.side_heads = nn.ModuleList(tap.build(side_outputs) for tap in taps.values())
        if projector is not None:
            self.side_weights[PROJECTOR] = 1.0
            self.side_heads.append(projector)
        self.contrast = contrast
        self.requires_grad_(True)
        self.regulariser: Regulariser | None = None
        """What holds training back; its parameters are trained along, and never enter a bundle."""

    def forward(self, state: State) -> Float[Tensor, "n c"]:
        logits: Tensor = self.head(self.features(state))
        return logits

    def features(self, state: State) -> Tensor:
        """What the head reads."""
        return self._features(state, None)

    def passed(self, state: State, change: Callable[[State], State] | None = None) -> Passed:
        """Logits, and what was made on the way to them; of the begun state, changed by `change`."""
        hidden: dict[str, Tensor] = {}
        features = self._features(state, hidden, change)
        side_heads = dict(zip(self.side_weights, self.side_heads, strict=True)) if self.training else {}
        sides = {name: side_head(hidden.get(name, features)) for name, side_head in side_heads.items()}
        logits = self.head(features.detach() if PROJECTOR in sides else features)
        return Passed(logits=logits, features=features, hidden=hidden, sides=sides)

    def penalty(self, state: State, passed: Passed, targets: Tensor) -> Tensor | None:
        """The regulariser's term for one batch; None without one."""
        if self.regulariser is None:
            return None
        term: Tensor = self.regulariser(self, state, passed, targets)
        return term

    def begun(self, state: State) -> State:
        """The stored state as the lowest trained stage gets it, transient tensors left out."""
        begun: State = state if self.start is None else self.start(state)
        return begun

    def _features(
        self, state: State, hidden: dict[str, Tensor] | None, change: Callable[[State], State] | None = None
    ) -> Tensor:
        """What the head reads; `hidden`, where given, takes what every stage leaves."""
        state = self.begun(state)
        if change is not None:
            state = change(state)
        if self.start is None and self.names:
            state = self._complete(state)
        for name, stage in zip(self.names, self.stages, strict=True):
            state = stage(state)
            if hidden is not None:
                hidden[name] = state["hidden"]
        read: Tensor = self._views(state)[self.view] if self.names else state[self.view]
        return read

    def wake(self, count: int) -> None:
        """Train the highest `count` stages and the heads; the others stay as they are, in evaluation mode."""
        self.awake = count
        for depth, stage in enumerate(reversed(self.stages)):
            stage.requires_grad_(depth < count)

    def train(self, mode: bool = True) -> "Tail":
        """Training mode, in which batch norm keeps its statistics unless they are to be trained."""
        super().train(mode)
        for stage in self.stages[: len(self.stages) - self.awake]:
            stage.eval()
        if self.batch_norm != "train":
            for norm in self.norms():
                norm.eval()
        return self

    def norms(self) -> list[BATCH_NORM]:
        """The batch norms of the stages."""
        return [module for module in self.stages.modules() if isinstance(module, BATCH_NORM)]

    @property
    def least_rows(self) -> int:
        """Rows that a training batch needs: two where batch norm measures its statistics on it, or as many as the
        regulariser compares."""
        measuring = (self.batch_norm == "train" and self.norms()) or any(
            isinstance(module, BATCH_NORM) for module in self.side_heads.modules()
        )
        compared = 1 if self.regulariser is None else self.regulariser.least_rows
        return max(2 if measuring else 1, compared)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers that a bundle needs, by canonical name; side heads, projector, contrast and
        regulariser are left out."""
        parts: dict[str, nn.Module] = {**dict(zip(self.names, self.stages, strict=True)), "head": self.head}
        return {f"{part}/{name}": tensor for part in parts for name, tensor in stage_tensors(parts[part]).items()}

    def frozen_names(self) -> frozenset[str]:
        """Canonical names of what stays as it is although it lies above the cut: batch norm's statistics, and stages
        that are not awake."""
        asleep = self.names[: len(self.names) - self.awake]
        still = STATISTICS if self.batch_norm == "frozen" else ()
        return frozenset(name for name in self.tensors() if name.partition("/")[0] in asleep or name.endswith(still))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors by canonical name; names that are not given keep their values."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                if name in tensors:
                    tensor.copy_(tensors[name])
