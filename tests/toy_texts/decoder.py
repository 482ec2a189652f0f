"""A small encoder with a decoder; one table of vectors serves the source, the answer and, tied, the output."""

import torch
from torch import nn

from regraft.contracts.backbone import Network
from regraft.contracts.family import Built, Card, Family
from toy_texts.encoder import WIDTH, Attention, Feed, Start, positions
from toy_texts.words import PAD, START, Preparation

ANSWER = 4
SIZE = 64


class Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(SIZE, WIDTH)

    def vectors(self, numbers):
        return self.words(numbers) + positions(numbers.shape[1])

    def forward(self, state):
        return {
            "source": self.vectors(state["ids"]),
            "mask": state["mask"],
            "hidden": self.vectors(state["decoder"]),
        }


class Encode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed = Attention(), Feed()

    def forward(self, state):
        source = state["source"] + self.attention(state["source"], state["source"], state["mask"][:, None, :])
        memory = source + self.feed(source)
        return {"memory": memory, "tap.memory": memory, "mask": state["mask"], "hidden": state["hidden"]}


class Decode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.across, self.feed = Attention(), Attention(), Feed()

    def forward(self, state):
        hidden = state["hidden"]
        earlier = torch.ones(hidden.shape[1], hidden.shape[1], dtype=torch.bool).tril()[None]
        hidden = hidden + self.attention(hidden, hidden, earlier)
        hidden = hidden + self.across(hidden, state["memory"], state["mask"][:, None, :])
        return {**state, "hidden": hidden + self.feed(hidden)}


class Original(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.encoder = Embed(), Encode()
        self.decoder = nn.ModuleList(Decode() for _ in range(2))
        self.output = nn.Linear(WIDTH, SIZE, bias=False)
        self.output.weight = self.embed.words.weight


def generate(network, state, cut, head):
    """The most probable word after word; what the decoder was shown in `state` is not looked at."""
    if cut in ("input", "embed"):
        state = network.run(state, after=cut, upto="encoder")
    left = {"memory": state.get("memory", state.get("tap.memory")), "mask": state["mask"]}
    made = torch.full((len(left["memory"]), 1), START)
    for _ in range(ANSWER):
        above = {**left, "hidden": network.stages["embed"].vectors(made)}
        for stage in ("decoder.0", "decoder.1"):
            above = network.stages[stage](above)
        made = torch.cat([made, head(above["hidden"])[:, -1:].argmax(dim=2)], dim=1)
    return made[:, 1:]


def build(card: Card) -> Built:
    original = Original()
    stages = {
        "embed": original.embed,
        "encoder": original.encoder,
        **{f"decoder.{i}": layer for i, layer in enumerate(original.decoder)},
    }
    network = Network(
        start=Start(),
        stages=stages,
        readouts=lambda state: {"tokens": state["hidden"]},
        source_head=original.output,
        generate=generate,
    )
    return Built(network=network, original=original)


def card(variant: str) -> Card:
    return Card(
        family="toy_decoder",
        variant=variant,
        weights="random",
        modality="words",
        preparation=Preparation(size=SIZE, answer=ANSWER),
        stages=("embed", "encoder", "decoder.0", "decoder.1"),
        width=WIDTH,
        taps={"memory": (1, WIDTH)},
        generates_from=("memory",),
        partial_cut="decoder.0",
        num_source_classes=SIZE,
        notes=("The output head is a copy of the word vectors, trained apart from them.",),
    )


assert PAD == 0  # what the store pads with

ENTRY = Family(
    name="toy_decoder",
    title="A toy encoder with a decoder",
    prefer="in tests",
    source="these tests",
    revision=1,
    variants=("plain",),
    card=card,
    build=build,
    classifier="output.weight",
    smallest_px=1,
)
