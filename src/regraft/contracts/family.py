"""Families of backbones, what their shelf holds, and the card: the facts that travel with weights.

Imports no torch until a network is built.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.contracts.modality import MODALITIES
from regraft.errors import BadRequest, UnknownCut
from regraft.records import from_json

if TYPE_CHECKING:
    from torch import nn

    from regraft.contracts.backbone import Network
    from regraft.nn.stated import StatedCost


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
        modality = MODALITIES.get(value.get("modality", "image"))
        return from_json(Card, {**value, "preparation": modality.Preparation.from_json(value["preparation"])})

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


PREFIX = "hf:"
"""Begins an address on the Hugging Face hub: `hf:OWNER/REPOSITORY[/FILE][@REVISION]`."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that somebody published for a family."""

    url: str
    """Where the file lies: an address, or `hf:OWNER/REPOSITORY[/FILE][@REVISION]` on the Hugging Face hub."""
    sha256: str
    """SHA-256 of the file in hex, or its first digits, as torchvision puts them in the file's name; empty on the hub,
    which tells it."""
    size_mb: float
    """About how large the file is, in MiB; for the plan only."""
    variant: str
    """Which of the family's architectures it holds."""
    facts: Mapping[str, Any]
    """Fields of the card that differ from the architecture's own: terms, normalisation, classes."""
    top1_percent: float | None = None
    """Accuracy on ImageNet-1k's validation split that the publisher states, one central crop; None where none is."""
    top1_source: str = ""
    """Who states it."""
    read: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """(the file, the original's tensors by name without numbers) -> a state dict of the original; loads torch. None:
    the file is of one of the usual kinds, under the original's names."""

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Packaged(Published):
    """Weights that an ordinary Python package carries; `url` is the package's page."""

    package: str
    """Name of the distribution."""
    version: str
    """Its version."""
    file: str
    """The file of weights, as the distribution's metadata lists it."""
    num_bytes: int
    """Size of the file."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Other files beside it that belong to the weights, such as a tokenizer, with their SHA-256."""
    install: str
    """The command that installs it."""

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return self.file.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Format:
    """Files that hold one of a family's architectures under other names and conventions than the original's."""

    variant: str
    """Which of the family's architectures they hold."""
    translate: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Tensors as the file names them -> a state dict of the original; what is no part of it keeps its name."""
    facts: Mapping[str, Any]
    """Fields of the card that follow from the format: normalisation, notes."""


def unchanged(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Most weights fit whatever the input size."""
    return tensors


@dataclass(frozen=True, kw_only=True)
class Family:
    """One entry of the shelf of backbones."""

    name: str
    """The entry's name on the shelf."""
    title: str
    """One line for people."""
    prefer: str
    """When to prefer it, as it continues "prefer it": a few words with the numbers they rest on."""
    source: str
    """The paper."""
    revision: int
    """Raised whenever the same tensors give other numbers than before, so that stored activations are made again."""
    variants: tuple[str, ...]
    """Names of the architectures, the default first; of an open family a few of them."""
    card: Callable[[str], Card]
    """variant -> the facts of that architecture, with no weights yet."""
    build: Callable[[Card], Any]
    """card -> a `Built` with random weights; imports torch."""
    classifier: str
    """Name of the source classifier's weight (classes, features) in the original's state dict."""
    smallest_px: int
    """Side of the smallest square input that the network takes."""
    multiple_px: int = 1
    """What the side of an input must be a multiple of."""
    adapt: Callable[[Mapping[str, Any], Card], Mapping[str, Any]] = unchanged
    """(original state dict, card) -> the state dict that fits the card's input size."""
    untrained: tuple[str, ...] = ()
    """Prefixes of names in foreign files that are left out: auxiliary heads, most of which were never trained."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """Weights by the name after `@`."""
    formats: Mapping[str, Format] = field(default_factory=dict)
    """Other kinds of files, by suffix with its dot."""
    stated: "Callable[[Card], tuple[StatedCost, ...]] | None" = None
    """Card -> what the paper itself says that its parts cost, where it has a table of that for this architecture."""
    narrowed: "Callable[[str], Family] | None" = None
    """Of an open family, whose architectures a library knows and nobody lists here: variant -> the family of that one
    alone, with its own classifier, sizes and published weights; raises `UnknownName`. None where `variants` are all."""

    @property
    def one_size(self) -> bool:
        """Whether weights are for one input size, and adapted to another."""
        return self.adapt is not unchanged


@dataclass(frozen=True, kw_only=True)
class SideHead:
    """Where an auxiliary head may sit, and how a fresh one is made."""

    weight: float
    """Factor on its loss."""
    build: Callable[[int], "nn.Module"]
    """Number of outputs -> a module from the stage's `hidden` (n c h w) to logits (n k)."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network and the original module it was cut from; both hold the same parameters."""

    network: "Network"
    original: "nn.Module"
    """Takes the original's state dict, so that foreign weights load under their own names."""


def first_convolution(network: "Network", channels: int) -> "nn.Conv2d | None":
    """What takes inputs of so many channels: the first stage's first convolution on as many; None without one."""
    from torch import nn

    parts = next(iter(network.stages.values())).modules()
    return next((part for part in parts if isinstance(part, nn.Conv2d) and part.in_channels == channels), None)


def built(family: Family, card: Card) -> Built:
    """A `Built` for the card, its first convolution for as many channels as the card has. Imports torch.

    Families build networks for the channels that their own weights have; a convolution for others always has a bias.
    """
    made: Built = family.build(card.buildable)
    natural = family.card(card.variant).channels if card.channels else 0
    if card.channels != natural and (conv := first_convolution(made.network, natural)) is not None:
        import torch
        from torch import nn

        conv.in_channels = card.channels
        shape = (conv.out_channels, card.channels, *conv.kernel_size)
        conv.weight, conv.bias = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(conv.out_channels))
        conv.reset_parameters()
    return made


def sized(family: Family, card: Card, input_px: int | None) -> Card:
    """The card for square inputs of `input_px` pixels; the card itself when None.

    Raises:
        BadRequest: the network takes no inputs as small as that.
    """
    if input_px is None:
        return card
    if input_px < family.smallest_px or input_px % family.multiple_px:
        rule = f", in steps of {family.multiple_px}" if family.multiple_px > 1 else ""
        near = max(family.smallest_px, input_px // family.multiple_px * family.multiple_px)
        raise BadRequest(
            f"{family.name} takes square inputs of {family.smallest_px} pixels or more{rule}; "
            f"{input_px} were asked for.",
            fix=f"set input_px to {near}, for instance.",
        )
    return card.with_input(input_px)
