"""What must be known of one of timm's models before it is built; found once, then kept in the cache as JSON.

Preparation follows timm's own `transforms_imagenet_eval`: the shorter side is brought to the input size divided by
`crop_pct`, rounded down, and the centre is cut out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from math import floor
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regraft.bundle_format import read_json
from regraft.contracts.card import Card
from regraft.errors import BadRequest, MissingExtra, UnknownName
from regraft.files import cache_home, write_json
from regraft.identity import digest_json
from regraft.modalities.image.prepare import Preparation

if TYPE_CHECKING:
    from torch import nn

    from regraft.backbones._timm_stages import Plan

REVISION = 1
"""Raised when what is found out, or how a model is cut, changes."""
TRIED_PX = (32, 48, 64, 96, 128)
"""Sides that are tried where nothing but the model knows how small an input may be. Our choice."""
UNTRAINED = "untrained"
"""timm's tag of an architecture without weights."""
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "laion2b": "LAION-2B",
    "laion400m": "LAION-400M",
    "lvd142m": "LVD-142M",
}
"""What timm's tags call collections of pictures."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One of timm's models, under one of its tags."""

    name: str
    """Architecture and tag in full: `resnet10t.c3_in1k`."""
    card: Card
    """The architecture's card, with the normalisation and preparation of the tag."""
    plan: Mapping[str, Any]
    """How it is cut: the fields of a `Plan`."""
    classifier: str
    """Name of the classifier's weight."""
    smallest_px: int
    """Side of the smallest square input."""
    multiple_px: int
    """What the side of an input must be a multiple of."""
    sized: bool
    """Whether some of its tensors are made for one input size."""
    parameters: int
    """How many it has, the classifier's included."""
    hub: str
    """Where its weights lie on the Hugging Face hub, `OWNER/REPOSITORY[/FILE]`; empty where they do not."""
    trained_on: str
    """What the tag says that they were trained on."""
    licence: str
    """Their terms as timm states them."""


def timm_library() -> ModuleType:
    """The package `timm`, imported now and not before.

    Raises:
        MissingExtra: it is not installed.
    """
    from importlib import import_module

    from regraft.backbones._torchvision import torchvision_models

    _version()
    torchvision_models()  # timm imports torchvision, which needs help beside a CPU-only torch
    return import_module("timm")


def facts_of(name: str) -> ModelFacts:
    """What is known of the model of that name, from the cache, or else found out by building it.

    Raises:
        MissingExtra: timm is not installed.
        UnknownName: timm has no such model, or it has no such tag.
        BadRequest: the model is not features below one dense layer, or takes other than pictures of three channels.
    """
    path = cache_home() / "weights" / f"timm-{digest_json([REVISION, _version(), name])}.json"
    if path.is_file():
        kept = dict(read_json(path))
        return ModelFacts(**{**kept, "card": Card.from_json(kept["card"])})
    timm = timm_library()
    import torch

    with torch.device("cpu"):  # whoever asks may be building on another device, or on none
        found = _found(timm, name)
    write_json(path, {**vars(found), "card": found.card.to_json()})
    return found


def create(name: str, *, num_classes: int, input_px: int | None) -> "nn.Module":
    """timm's model with random weights; `input_px` None leaves the input size to it."""
    sized = {} if input_px is None else {"img_size": input_px}
    net: nn.Module = timm_library().create_model(name, pretrained=False, num_classes=num_classes, **sized)
    return net


def plan_of(facts: ModelFacts) -> "Plan":
    """How the model is cut."""
    from regraft.backbones._timm_stages import Plan

    groups = tuple((name, tuple(paths)) for name, paths in facts.plan["groups"])
    return Plan(groups=groups, tokens=facts.plan["tokens"])


def _found(timm: ModuleType, asked: str) -> ModelFacts:
    config = _config(timm, asked)
    tagged = config.tag and config.tag != UNTRAINED
    name = f"{config.architecture}.{config.tag}" if tagged else config.architecture
    channels, height, width = config.input_size
    if channels != 3 or height != width:
        raise BadRequest(
            f"timm's {name} takes inputs of {channels} channels and {height} x {width} pixels.",
            fix="choose a model for square inputs of three channels.",
        )
    from regraft.backbones._timm_stages import head_of
    from regraft.backbones.undrawn import Undrawn

    smallest, multiple, plan, features = _tried(name, config)
    with Undrawn():
        net = create(name, num_classes=config.num_classes or 1, input_px=None)

    stages = plan.stages
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
        name=name, card=card, plan=asdict(plan), classifier=f"{head_of(net)}.weight", smallest_px=smallest,
        multiple_px=multiple, sized=config.fixed_input_size, parameters=sum(p.numel() for p in net.parameters()),
        hub=hub, trained_on=_trained_on(config.tag), licence=config.license or "not stated",
    )  # fmt: skip


def _config(timm: ModuleType, name: str) -> Any:
    """timm's record of the model's default or named weights."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise UnknownName("model of timm", architecture, get_close_matches(architecture, known, 8, 0.5) or known[:8])
    tags = [full.partition(".")[2] for full in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise UnknownName(f"set of timm's weights for {architecture}", name, [f"{architecture}.{one}" for one in tags])
    return timm.get_pretrained_cfg(name)


def _tried(name: str, config: Any) -> "tuple[int, int, Plan, int]":
    """The smallest side among those tried that the model takes, of what sides are multiples, its plan, its features."""
    import torch

    from regraft.backbones._timm_stages import FAULTS, planned

    native = int(config.input_size[1])
    step = _step(name) if config.fixed_input_size else 1
    sides = [step * count for count in (1, 2, 3, 4)] if step > 1 else [px for px in TRIED_PX if px < native]
    least = max((config.min_input_size or (0, 0, 0))[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for side in sides:
            if side < min(least, native):
                continue
            try:
                net = create(name, num_classes=2, input_px=side if config.fixed_input_size else None)
                return side, step, *planned(net, side)
            except FAULTS:
                continue
        net = create(name, num_classes=2, input_px=None)
        return native, native if config.fixed_input_size else 1, *planned(net, native)


def _step(name: str) -> int:
    """Input pixels along one side of the model's coarsest grid."""
    from regraft.backbones.undrawn import Undrawn

    with Undrawn():
        net: Any = create(name, num_classes=2, input_px=None)
    return int(max((info.get("reduction", 1) for info in getattr(net, "feature_info", [])), default=1))


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
            f"timm prepares inputs of {name} by crop mode {config.crop_mode!r} with crop_pct {config.crop_pct}; "
            "here the centre is cut out instead."
        )
    if config.interpolation not in ("bilinear", "bicubic"):
        notes.append(f"timm resizes inputs of {name} by {config.interpolation!r}; here it is bicubic.")
    return tuple(notes)


def _trained_on(tag: str | None) -> str:
    if not tag or tag == UNTRAINED:
        return ""
    told = ", then ".join(dict.fromkeys(DATA[word] for word in tag.split("_") if word in DATA))
    return f"{told} (timm's tag {tag})" if told else f"as timm's tag {tag} says"


def _version() -> str:
    try:
        return version("timm")
    except PackageNotFoundError as error:
        raise MissingExtra("timm", "timm", "A backbone timm:NAME") from error
