"""What is trained: the stages above a cut, the head, and side heads where asked for.

Letters: n examples, c outputs.
"""

from collections.abc import Callable, Mapping

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
        self.stages = nn.ModuleList(above.values())
        self.start = network.start if cut == "input" else None
        self._views, self._complete, self.shared = network.views, network.complete, network.shared
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

    def with_sides(
        self, state: State, change: Callable[[State], State] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and in training mode the side heads' logits by stage; of the begun state, changed by `change`."""
        features, sides = self._features(state, change)
        return self.head(features), sides

    def begun(self, state: State) -> State:
        """The stored state as the lowest trained stage gets it, transient tensors left out."""
        begun: State = state if self.start is None else self.start(state)
        return begun

    def _features(
        self, state: State, change: Callable[[State], State] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        side_heads, sides = dict(zip(self.side_weights, self.side_heads, strict=True)), {}
        state = self.begun(state)
        if change is not None:
            state = change(state)
        if self.start is None and self.names:
            state = self._complete(state)
        for name, stage in zip(self.names, self.stages, strict=True):
            state = stage(state)
            if self.training and name in side_heads:
                sides[name] = side_heads[name](state["hidden"])
        return self._views(state)[self.view] if self.names else state[self.view], sides

    def train(self, mode: bool = True) -> "Tail":
        """Training mode, in which batch norm keeps its statistics unless they are to be trained."""
        super().train(mode)
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
        """Canonical names of what stays as it is although it lies above the cut: batch norm's statistics."""
        if self.batch_norm != "frozen":
            return frozenset()
        return frozenset(name for name in self.tensors() if name.endswith(STATISTICS))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over tensors by canonical name; names that are not given keep their values."""
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                if name in tensors:
                    tensor.copy_(tensors[name])
