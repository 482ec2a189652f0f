"""A toy encoder for the contract: a mask, and a position bias made by one layer and shared by all blocks."""

import torch
from torch import Tensor, nn

from regraft.contracts.backbone import Network


class Start(nn.Module):
    """Prepared inputs are the first state."""

    def forward(self, state):
        return {"ids": state["ids"], "mask": state["mask"]}


class ToyEmbeddings(nn.Module):
    """Word vectors; also makes the position bias (1 heads t t), which has parameters and no example axis."""

    def __init__(self, words: int, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.bias = nn.Embedding(2 * length, heads)
        self.length = length

    def forward(self, state):
        t = state["ids"].shape[1]
        offsets = torch.arange(t)[None, :] - torch.arange(t)[:, None] + self.length
        return {
            "hidden": self.words(state["ids"]),
            "mask": state["mask"],
            "position_bias": self.bias(offsets).permute(2, 0, 1)[None],
        }


class ToyBlock(nn.Module):
    """Attention that needs the additive mask and the shared bias, then a feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def attend(self, hidden: Tensor, added: Tensor) -> Tensor:
        n, t, d = hidden.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(hidden).chunk(3, dim=-1))
        weights = ((q @ k.transpose(-1, -2)) * (d // self.heads) ** -0.5 + added).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, d))

    def forward(self, state):
        hidden = state["hidden"] + self.attend(state["hidden"], state["added_mask"] + state["position_bias"])
        return {**state, "hidden": hidden + self.feed(hidden)}


def added_mask(mask: Tensor) -> Tensor:
    """Boolean mask (n t) -> additive mask (n 1 1 t): free of parameters, so it is not stored."""
    return torch.zeros(mask.shape).masked_fill(~mask, -1e9)[:, None, None, :]


class ToyEncoder(nn.Module):
    """The original: its own forward knows nothing of stages."""

    def __init__(self, words=50, width=16, heads=2, length=12, layers=3, classes=4) -> None:
        super().__init__()
        self.embeddings = ToyEmbeddings(words, width, heads, length)
        self.blocks = nn.ModuleList(ToyBlock(width, heads) for _ in range(layers))
        self.classify = nn.Linear(width, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        state = self.embeddings({"ids": ids, "mask": mask})
        hidden = state["hidden"]
        for block in self.blocks:
            hidden = hidden + block.attend(hidden, added_mask(mask) + state["position_bias"])
            hidden = hidden + block.feed(hidden)
        kept = mask[..., None].float()
        return self.classify((hidden * kept).sum(1) / kept.sum(1))


def toy_network(original: ToyEncoder) -> Network:
    def complete(state):
        return {**state, "added_mask": added_mask(state["mask"])}

    def readouts(state):
        kept = state["mask"][..., None].float()
        return {"pooled": (state["hidden"] * kept).sum(1) / kept.sum(1), "tokens": state["hidden"]}

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = original.embeddings

        def forward(self, state):
            return complete(self.body(state))

    return Network(
        start=Start(),
        stages={"embeddings": First(), **{f"layer.{i}": block for i, block in enumerate(original.blocks)}},
        readouts=readouts,
        source_head=original.classify,
        transient=frozenset({"added_mask"}),
        shared=frozenset({"position_bias"}),
        complete=complete,
    )
