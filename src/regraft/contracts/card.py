"""The facts that travel with weights. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from regraft.contracts.modality import MODALITIES
from regraft.errors import BadRequest, UnknownCut


@dataclass(frozen=True, kw_only=True)
class Card:
    """What must be known of a network to use it: where it comes from, what it eats, where it can be cut."""

    family: str
    """The backbone's name on the shelf: `googlenet`."""
    variant: str
    """Which architecture of the family: `torchvision`, `bn` …"""
    weights: str
    """Which weights, as a person writes them: `imagenet`, `random`, `file:NAME`, `bundle:NAME`."""
    source: str = ""
    """Where the weights come from: an address or a sentence."""
    licence: str = "not stated"
    """Terms of the weights."""
    trained_on: str = ""
    """What the weights were trained on, in a few words."""
    modality: str = "image"
    """What it takes: the name of a modality."""
    preparation: Any
    """How a raw input becomes the record that the network takes: the modality's `Preparation`."""
    mean: tuple[float, ...] = ()
    """Per channel, in units of the prepared input divided by 255; empty where inputs have no channels."""
    std: tuple[float, ...] = ()
    """Per channel, in the same units."""
    stages: tuple[str, ...]
    """Names of the stages, from the input upwards; the cuts follow from them."""
    width: int
    """Length of the pooled feature vector."""
    taps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Maps that a head may read besides, by name: stride and channels."""
    generates_from: tuple[str, ...] = ()
    """Taps that generating goes on from (an encoder's memory), kept at cut `output` too for tasks that generate."""
    partial_cut: str
    """The inner cut that partial fine-tuning uses unless told otherwise; empty where there is no inner cut."""
    side_heads: Mapping[str, float] = field(default_factory=dict)
    """Stages after which an auxiliary head may sit, with the weight of its loss."""
    source_classes: tuple[str, ...] = ()
    """Names of the classes that the weights were trained to tell apart, where known."""
    num_source_classes: int = 0
    """How many they are; 0 where there is no source classifier."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the architecture is built from, as JSON, where its library knows it by a description, not by a name."""
    notes: tuple[str, ...] = ()
    """What a user of these weights should be told when they are loaded."""

    @property
    def cuts(self) -> tuple[str, ...]:
        """`input`, every stage but the last, `output`."""
        return ("input", *self.stages[:-1], "output")

    def cut(self, name: str) -> str:
        """The cut of that name; the last stage's name means `output`.

        Raises:
            UnknownCut: there is no such stage; the nearest is offered.
        """
        if name == self.stages[-1]:
            return "output"
        if name not in self.cuts:
            raise UnknownCut(self.family, name, self.cuts)
        return name

    def taps_at(self, strides: Sequence[int]) -> tuple[str, ...]:
        """The taps with these strides, in their order.

        Raises:
            BadRequest: there is none with one of them.
        """
        by_stride = {stride: name for name, (stride, _) in self.taps.items()}
        if missing := [stride for stride in strides if stride not in by_stride]:
            have = ", ".join(map(str, sorted(by_stride))) or "none"
            raise BadRequest(
                f"{self.name} has no map of stride {missing[0]}, which the task reads; it has: {have}.",
                fix="choose another backbone.",
            )
        return tuple(by_stride[stride] for stride in strides)

    def widths(self, readout: str, strides: Sequence[int]) -> dict[str, int]:
        """Channels of what a head reads, by readout and tap."""
        return {readout: self.width} | {name: self.taps[name][1] for name in self.taps_at(strides)}

    @property
    def channels(self) -> int:
        """Channels of the prepared input: 3 for colour, 0 where it has none."""
        return len(self.mean)

    @property
    def input_px(self) -> tuple[int, ...]:
        """Height and width of the prepared input in pixels; empty where it is no image."""
        return tuple(getattr(self.preparation, "input_px", ()))

    @property
    def name(self) -> str:
        """`family:variant@weights`."""
        return f"{self.family}:{self.variant}@{self.weights}"

    @property
    def buildable(self) -> "Card":
        """The card from which a network is built: a source classifier of one class stands in where there is none."""
        return self if self.num_source_classes else replace(self, num_source_classes=1)

    def to_json(self) -> dict[str, Any]:
        """The card as JSON; `from_json` reads it back."""
        return asdict(self) | {"preparation": dict(self.preparation.to_json())}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Card":
        """The card that `to_json` wrote."""
        known = dict(value)
        for name in ("mean", "std", "stages", "source_classes", "notes"):
            known[name] = tuple(known[name])
        known["generates_from"] = tuple(known.get("generates_from", ()))
        known["preparation"] = MODALITIES.get(known.get("modality", "image")).Preparation.from_json(
            known["preparation"]
        )
        known["taps"] = {name: tuple(found) for name, found in known.get("taps", {}).items()}
        return Card(**known)

    def with_input(self, input_px: int) -> "Card":
        """The same card for square inputs of `input_px` pixels, the resize rule scaled along."""
        return replace(self, preparation=self.preparation.scaled_to(input_px))


def facts_of(card: Card) -> dict[str, Any]:
    """The fields that belong to the weights rather than to the architecture."""
    names = (
        "source",
        "licence",
        "trained_on",
        "preparation",
        "mean",
        "std",
        "source_classes",
        "num_source_classes",
        "notes",
    )
    return {name: getattr(card, name) for name in names}
