"""Any network of timm (PyTorch Image Models), as `timm:NAME` or `timm:NAME.TAG`; needs the extra `timm`.

The cuts `input` and `output` are always there. Inner cuts exist where the stages were found to give the original's own
output before its classifier. Normalisation and preparation are those that timm records for the tag.
Source: Wightman 2019, https://github.com/huggingface/pytorch-image-models.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regraft.backbones._timm_facts import create, facts_of, plan_of
from regraft.contracts.card import Card
from regraft.contracts.family import Family, Published, unchanged

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

BYTES_PER_NUMBER = 4


def card(variant: str) -> Card:
    """The facts of the architecture, with the normalisation of the tag."""
    return facts_of(variant).card


def build(card: Card) -> "Built":
    """timm's network with random weights, as stages; for the card's input size where its tensors depend on that."""
    from regraft.backbones._timm_stages import network_of
    from regraft.contracts.backbone import Built

    facts = facts_of(card.variant)
    input_px = card.preparation.input_px[0] if facts.sized else None
    net = create(facts.name, num_classes=card.num_source_classes or 1, input_px=input_px)
    return Built(network=network_of(net, plan_of(facts), card.mean, card.std), original=net)


def adapt(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Fit tensors made for one input size to the card's by timm's own rule for the architecture, where it has one.

    Tensors of another network, at which the rule fails, come back as they are: comparing them says what is wrong.
    """
    import sys

    import torch

    from regraft.backbones._timm_stages import FAULTS
    from regraft.backbones.undrawn import Undrawn

    with torch.device("meta"), Undrawn():
        net: Any = build(card.buildable).original
    rule = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        fitted: Mapping[str, Any] = rule(dict(tensors), net) if rule else tensors
    except FAULTS:
        return tensors
    return fitted


def narrowed(variant: str) -> Family:
    """The family of one of timm's networks.

    Raises:
        MissingExtra: timm is not installed.
        UnknownName: timm has no network of that name.
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
        title=f"{facts.name} of timm: {facts.parameters / 1e6:.1f} million parameters",
        variants=(facts.name,),
        classifier=facts.classifier,
        smallest_px=facts.smallest_px,
        multiple_px=facts.multiple_px,
        adapt=adapt if facts.sized else unchanged,
        published=published,
        narrowed=None,
    )


ENTRY = Family(
    name="timm",
    title="Any network of timm, over a thousand: timm:NAME or timm:NAME.TAG; @pretrained is what the tag names",
    prefer="where a newer network than the others is wanted; it needs the extra `timm`",
    source="Wightman 2019, https://github.com/huggingface/pytorch-image-models",
    revision=1,
    variants=("resnet10t.c3_in1k", "mobilenetv3_small_050.lamb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    card=card,
    build=build,
    classifier="",
    smallest_px=32,
    narrowed=narrowed,
)
