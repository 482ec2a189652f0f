"""What is trained: the stages above a cut, the head, and side heads where asked for.

Letters: n examples, c outputs.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regraft.backbones._contract import Network, State, stage_tensors
from regraft.errors import BadRequest

BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common base has no public name
STATISTICS = ("running_mean", "running_var")


class Tail(nn.Module):
    """The trained part as one module: stored state at the cut -> logits (n c).

    Of `network` it uses the stages above the cut themselves, not copies; it must own them.
    """

    def __init__(
        self, network: Network, cut: str, head: nn.Module, view: str, *, batch_norm: str, side_outputs: int = 0
    ) -> None:
        """`batch_norm` is `frozen`, `train` or `recalibrate`; `side_outputs` > 0 attaches the side heads above the cut.

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
        self._views, self._complete = network.views, network.complete
        taps = {name: tap for name, tap in network.side_heads.items() if name in above} if side_outputs else {}
        if side_outputs and not taps:
            have = ", ".join(network.side_heads) or "none"
            raise BadRequest(
                f"Side heads were asked for, but none lies above the cut {cut!r} (this backbone has them at: {have}).",
                fix="choose a lower cut, or leave side heads out.",
            )
        self.side_weights = {name: tap.weight for name, tap in taps.items()}
        self.side_heads = nn.ModuleList(tap.build(side_outputs) for tap in taps.values())
        self.requires_grad_(True)

    def forward(self, state: State) -> Float[Tensor, "n c"]:
        return self.with_sides(state)[0]

    def features(self, state: State) -> Tensor:
        """What the head reads."""
        return self._features(state)[0]

    def with_sides(self, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and in training mode the side heads' logits by stage."""
        features, sides = self._features(state)
        return self.head(features), sides

    def _features(self, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        side_heads, sides = dict(zip(self.side_weights, self.side_heads, strict=True)), {}
        if self.start is not None:
            state = self.start(state)
        elif self.names:
            state = self._complete(state)
        for name, stage in zip(self.names, self.stages, strict=True):
            state = stage(state)
            if self.training and name in side_heads:
                sides[name] = side_heads[name](state["hidden"])
        return self._views(state)[self.view] if self.names else state[self.view], sides

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
        """Rows that a training batch needs: two where batch norm measures its statistics on it."""
        measuring = (self.batch_norm == "train" and self.norms()) or any(
            isinstance(module, BATCH_NORM) for module in self.side_heads.modules()
        )
        return 2 if measuring else 1

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers that a bundle needs, by canonical name; side heads are left out."""
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
