"""A small encoder of words: attention under a mask, positions as waves, so that any length goes."""

import torch
from torch import nn

from regraft.contracts.backbone import Network
from regraft.contracts.family import Built, Card, Family
from toy_texts.words import Preparation

WIDTH = 16
LAYERS = 3


class Start(nn.Module):
    def forward(self, state):
        return dict(state)


def positions(length: int) -> torch.Tensor:
    waves = torch.arange(length)[:, None] / 10.0 ** torch.arange(0, 4, 8 / WIDTH)[None, :]
    return 0.1 * torch.cat([waves.sin(), waves.cos()], dim=1)


class Embed(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, WIDTH)

    def forward(self, state):
        hidden = self.words(state["ids"]) + positions(state["ids"].shape[1])
        return {"hidden": hidden, "mask": state["mask"]}


class Attention(nn.Module):
    """What is asked looks at what is given, where `allowed` (n or 1, 1 or t, s) is true."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, asked, given, allowed):
        scores = self.query(asked) @ self.key(given).transpose(1, 2) * WIDTH**-0.5
        return scores.masked_fill(~allowed, -1e9).softmax(dim=-1) @ self.value(given)


class Feed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed = Attention(), Feed()

    def forward(self, state):
        hidden = state["hidden"]
        hidden = hidden + self.attention(hidden, hidden, state["mask"][:, None, :])
        return {**state, "hidden": hidden + self.feed(hidden)}


def readouts(state):
    kept = state["mask"][..., None].float()
    return {"pooled": (state["hidden"] * kept).sum(1) / kept.sum(1), "tokens": state["hidden"]}


class Encoder(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed, self.layers = Embed(size), nn.ModuleList(Block() for _ in range(LAYERS))


def build(card: Card) -> Built:
    original = Encoder(card.preparation.size)
    stages = {"embed": original.embed, **{f"layer.{i}": layer for i, layer in enumerate(original.layers)}}
    return Built(network=Network(start=Start(), stages=stages, readouts=readouts), original=original)


def card(variant: str) -> Card:
    return Card(
        family="toy_encoder",
        variant=variant,
        weights="random",
        modality="words",
        preparation=Preparation(),
        stages=("embed", *(f"layer.{i}" for i in range(LAYERS))),
        width=WIDTH,
        partial_cut="layer.0",
    )


ENTRY = Family(
    name="toy_encoder",
    title="A toy encoder",
    prefer="in tests",
    source="these tests",
    revision=1,
    variants=("plain",),
    card=card,
    build=build,
    classifier="",
    smallest_px=1,
)
