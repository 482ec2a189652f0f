"""Any network of timm (PyTorch Image Models), as `timm:NAME` or `timm:NAME.TAG`; needs the extra `timm`.

The cuts `input` and `output` always exist. Inner cuts exist if the stages reproduce the original's features
(`_timm_stages.py`). Metadata needed before a network is built are determined once, by building it, and cached as JSON,
so that a run with stored activations loads neither torch nor timm. Normalisation and preparation are those recorded by
timm for the tag: as in timm's `transforms_imagenet_eval`, the shorter side is resized to the input size divided by
`crop_pct`, rounded down, and the centre is cropped.

Source: Wightman 2019, https://github.com/huggingface/pytorch-image-models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from math import floor
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regraft.bundle_format import read_json
from regraft.contracts.family import Card, Family, Published, unchanged
from regraft.errors import BadRequest, MissingExtra, UnknownName
from regraft.files import cache_home, write_json
from regraft.identity import digest_json
from regraft.modalities.image.prepare import Preparation

if TYPE_CHECKING:
    from regraft.backbones._timm_stages import Groups
    from regraft.contracts.family import Built

REVISION = 2
"""Increased when the cached metadata or the way a model is cut change."""
TRIED_PX = (32, 48, 64, 96, 128)
"""Input sizes to try if only the model itself knows its minimum. Our choice."""
UNTRAINED = "untrained"
"""timm's tag for an architecture without weights."""
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "lvd142m": "LVD-142M",
}
"""Data sets named in timm's tags."""
BYTES_PER_NUMBER = 4


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Metadata of one timm model with one tag."""

    name: str
    """Architecture and tag in full: `resnet10t.c3_in1k`."""
    card: Card
    """The architecture's card, with the normalisation and preparation of the tag."""
    groups: "Groups"
    """Its stages."""
    classifier: str
    """Name of the classifier's weight."""
    smallest_px: int
    """Minimum side of a square input."""
    multiple_px: int
    """Input sides must be a multiple of this."""
    sized: bool
    """Whether some of its tensors depend on the input size."""
    parameters: int
    """Number of parameters, including the classifier's."""
    hub: str
    """Address of its weights on the Hugging Face hub, `OWNER/REPOSITORY[/FILE]`; empty if there are none."""
    trained_on: str
    """Training data, according to the tag."""
    licence: str
    """Licence, as stated by timm."""


def timm_library(purpose: str = "A backbone timm:NAME", *, extra: str = "timm") -> ModuleType:
    """Import and return `timm`, lazily; an error names the `purpose` and the `extra`.

    Raises:
        MissingExtra: timm is not installed.
    """
    from regraft.nn.torchvision import torchvision_models

    _version(purpose, extra)
    torchvision_models()  # timm imports torchvision, which needs this with a CPU-only torch
    return import_module("timm")


def facts_of(name: str) -> ModelFacts:
    """Return the metadata of the model with that name, from the cache or by building it.

    Raises:
        MissingExtra: timm is not installed.
        UnknownName: timm has no such model, or the model no such tag.
        BadRequest: the model is not features below one linear layer, or does not take images with three channels.
    """
    path = cache_home() / "weights" / f"timm-{digest_json([REVISION, _version(), name])}.json"
    if path.is_file():
        kept = dict(read_json(path))
        return ModelFacts(**{**kept, "card": Card.from_json(kept["card"])})
    timm = timm_library()
    import torch

    with torch.device("cpu"):  # the caller may be building on another device
        found = _found(timm, name)
    write_json(path, {**vars(found), "card": found.card.to_json()})
    return found


def card(variant: str) -> Card:
    """Return the card of the architecture, with the normalisation of the tag."""
    return facts_of(variant).card


def build(card: Card) -> "Built":
    """Build timm's network with random weights, as stages, for the card's input size if its tensors depend on it."""
    from regraft.backbones._timm_stages import network_of
    from regraft.contracts.family import Built

    facts = facts_of(card.variant)
    input_px = card.preparation.input_px[0] if facts.sized else None
    net = _create(facts.name, num_classes=card.num_source_classes or 1, input_px=input_px)
    return Built(network=network_of(net, facts.groups, card.mean, card.std), original=net)


def adapt(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Adapt tensors made for one input size to the card's by timm's own rule for the architecture, if there is one.

    Tensors of another network, for which the rule fails, are returned unchanged; comparing them explains the mismatch.
    """
    import sys

    import torch

    from regraft.backbones._timm_stages import FAULTS
    from regraft.nn.initialise import Undrawn

    with torch.device("meta"), Undrawn():
        net: Any = build(card.buildable).original
    rule = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        fitted: Mapping[str, Any] = rule(dict(tensors), net) if rule else tensors
    except FAULTS:
        return tensors
    return fitted


def narrowed(variant: str) -> Family:
    """Return the family of one of timm's networks.

    Raises:
        MissingExtra: timm is not installed.
        UnknownName: timm has no network with that name.
        BadRequest: the network cannot be used as a backbone.
    """
    facts = facts_of(variant)
    published = {}
    if facts.hub:
        published["pretrained"] = Published(
            url=f"hf:{facts.hub}",
            sha256="",
            size_mb=facts.parameters * BYTES_PER_NUMBER / 2**20,
            variant=facts.name,
            facts={"trained_on": facts.trained_on, "licence": facts.licence},
        )
    return replace(
        ENTRY,
        title=f"timm's {facts.name}: {facts.parameters / 1e6:.1f} million parameters",
        variants=(facts.name,),
        classifier=facts.classifier,
        smallest_px=facts.smallest_px,
        multiple_px=facts.multiple_px,
        adapt=adapt if facts.sized else unchanged,
        published=published,
        narrowed=None,
    )


def _create(name: str, *, num_classes: int, input_px: int | None = None) -> Any:
    """Return timm's model with random weights; with `input_px` None, at its default input size."""
    sized = {} if input_px is None else {"img_size": input_px}
    return timm_library().create_model(name, pretrained=False, num_classes=num_classes, **sized)


def _found(timm: ModuleType, asked: str) -> ModelFacts:
    from regraft.backbones._timm_stages import head_of
    from regraft.nn.initialise import Undrawn

    config = _config(timm, asked)
    tagged = config.tag and config.tag != UNTRAINED
    name = f"{config.architecture}.{config.tag}" if tagged else config.architecture
    channels, height, width = config.input_size
    if channels != 3 or height != width:
        raise BadRequest(
            f"timm's {name} takes {height} x {width} inputs with {channels} channels.",
            fix="choose a model for square inputs with three channels.",
        )
    with Undrawn():
        net = _create(name, num_classes=config.num_classes or 1)
    smallest, multiple, groups, features = _tried(name, config, getattr(net, "feature_info", []))
    stages = tuple(groups)
    above = max(1, len(stages) // 4)
    card = Card(
        family="timm",
        variant=name,
        weights="",
        preparation=_preparation(config),
        mean=tuple(config.mean),
        std=tuple(config.std),
        stages=stages,
        width=features,
        partial_cut=stages[-1 - above] if len(stages) > 1 else "",
        num_source_classes=config.num_classes,
        notes=_notes(name, config),
    )
    hub = "/".join(filter(None, (config.hf_hub_id, config.hf_hub_filename))) if config.hf_hub_id else ""
    return ModelFacts(
        name=name, card=card, groups=groups, classifier=f"{head_of(net)}.weight", smallest_px=smallest,
        multiple_px=multiple, sized=config.fixed_input_size, parameters=sum(p.numel() for p in net.parameters()),
        hub=hub, trained_on=_trained_on(config.tag), licence=config.license or "not stated",
    )  # fmt: skip


def _config(timm: ModuleType, name: str) -> Any:
    """Return timm's record of the model's default or named weights."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise UnknownName("timm model", architecture, get_close_matches(architecture, known, 8, 0.5) or known[:8])
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise UnknownName(f"set of timm weights for {architecture}", name, [f"{architecture}.{one}" for one in tags])
    return timm.get_pretrained_cfg(name)


def _tried(name: str, config: Any, feature_info: Any) -> "tuple[int, int, Groups, int]":
    """Return the smallest accepted side among those tried, the divisor of sides, the stages and the number of features.

    If some tensors depend on the input size, sides are multiples of a cell of the coarsest grid, in pixels.
    """
    import torch

    from regraft.backbones._timm_stages import FAULTS, planned

    native, sized = int(config.input_size[1]), config.fixed_input_size
    step = int(max((info.get("reduction", 1) for info in feature_info), default=1)) if sized else 1
    sides = [step * count for count in (1, 2, 3, 4)] if step > 1 else [px for px in TRIED_PX if px < native]
    minimum = min(native, max((config.min_input_size or (0, 0, 0))[1:]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for side in sides:
            if side < minimum:
                continue
            try:
                net = _create(name, num_classes=2, input_px=side if sized else None)
                return side, step, *planned(net, side)
            except FAULTS:
                continue
        return native, native if sized else 1, *planned(_create(name, num_classes=2), native)


def _preparation(config: Any) -> Preparation:
    side = int(config.input_size[1])
    whole = config.crop_mode == "squash" and config.crop_pct >= 1
    interpolation = config.interpolation if config.interpolation in ("bilinear", "bicubic") else "bicubic"
    resize: int | str = "squash" if whole else floor(side / config.crop_pct)
    return Preparation(input_px=(side, side), resize_px=resize, interpolation=interpolation)


def _notes(name: str, config: Any) -> tuple[str, ...]:
    notes = []
    if config.crop_mode == "border" or (config.crop_mode == "squash" and config.crop_pct < 1):
        notes.append(
            f"timm prepares inputs of {name} with crop mode {config.crop_mode!r} and crop_pct {config.crop_pct}; "
            "here a centre crop is used instead."
        )
    if config.interpolation not in ("bilinear", "bicubic"):
        notes.append(f"timm resizes inputs of {name} with {config.interpolation!r} interpolation; here it is bicubic.")
    return tuple(notes)


def _trained_on(tag: str | None) -> str:
    if not tag or tag == UNTRAINED:
        return ""
    told = ", then ".join(dict.fromkeys(DATA[word] for word in tag.split("_") if word in DATA))
    return f"{told} (timm's tag {tag})" if told else f"as timm's tag {tag} says"


def _version(purpose: str = "A backbone timm:NAME", extra: str = "timm") -> str:
    try:
        return version("timm")
    except PackageNotFoundError as error:
        raise MissingExtra("timm", extra, purpose) from error


ENTRY = Family(
    name="timm",
    title="Any of over a thousand timm networks: timm:NAME or timm:NAME.TAG; @pretrained loads the weights of the tag",
    prefer="for newer networks; requires the extra `timm`",
    source="Wightman 2019, https://github.com/huggingface/pytorch-image-models",
    revision=1,
    variants=("resnet10t.c3_in1k", "mobilenetv3_small_050.lamb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    card=card,
    build=build,
    classifier="",
    smallest_px=32,
    narrowed=narrowed,
)
