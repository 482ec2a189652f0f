"""ViT-B/16, from torchvision: the contract's proof that a class token lies inside the state.

Source: Dosovitskiy et al. 2020, arXiv:2010.11929. Weights: torchvision's ViT_B_16_Weights.IMAGENET1K_V1.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.backbones._imagenet import MEAN, STD, preparation, torchvision_weights
from regraft.contracts.card import Card
from regraft.contracts.family import Family

if TYPE_CHECKING:
    from regraft.contracts.backbone import Built

PATCH_PX = 16
STAGES = ("embeddings", *(f"layer.{i}" for i in range(12)))


def card(variant: str) -> Card:
    """The facts of the architecture, without weights."""
    return Card(
        family="vit_b_16",
        variant=variant,
        weights="",
        preparation=preparation(),
        mean=MEAN,
        std=STD,
        stages=STAGES,
        width=768,
        partial_cut="layer.8",
        num_source_classes=1000,
    )


def build(card: Card) -> "Built":
    """torchvision's vit_b_16 for the card's input size, with random weights, as stages.

    The final layer norm belongs to the last stage, the position embedding to the first.
    """
    from torch import nn

    from regraft.backbones._torchvision import torchvision_models
    from regraft.contracts.backbone import Built, Network
    from regraft.nn.stages import Normalise, OnHidden, class_token_views
    from regraft.nn.vit import Embeddings

    input_px = card.preparation.input_px[0]
    net = torchvision_models().vit_b_16(weights=None, image_size=input_px, num_classes=card.num_source_classes)
    layers = list(net.encoder.layers)
    embeddings = Embeddings(net.conv_proj, net.class_token, net.encoder.pos_embedding)
    bodies = (embeddings, *layers[:-1], nn.Sequential(layers[-1], net.encoder.ln))
    network = Network(
        start=Normalise(card.mean, card.std),
        stages={name: OnHidden(body) for name, body in zip(STAGES, bodies, strict=True)},
        views=class_token_views,
        source_head=net.heads.head,
    )
    return Built(network=network, original=net)


def adapt(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Interpolate the position embedding to the card's input size.

    Source: Dosovitskiy et al. 2020, section 3.2; torchvision's own routine.
    """
    from regraft.backbones._torchvision import torchvision_models

    input_px, key = card.preparation.input_px[0], "encoder.pos_embedding"
    if key not in tensors or tensors[key].shape[1] == (input_px // PATCH_PX) ** 2 + 1:
        return tensors
    interpolate = torchvision_models().vision_transformer.interpolate_embeddings
    fitted: Mapping[str, Any] = interpolate(input_px, PATCH_PX, dict(tensors))
    return fitted


ENTRY = Family(
    name="vit_b_16",
    title="ViT-B/16: a transformer on patches of 16 pixels, 86.6 million parameters",
    prefer="for accuracy over speed: 81 % on ImageNet is the most of all here, and so is the work, twelve times "
    "GoogLeNet's (17.6 billion multiply-adds)",
    source="Dosovitskiy et al. 2020, arXiv:2010.11929",
    revision=1,
    variants=("torchvision",),
    card=card,
    build=build,
    classifier="heads.head.weight",
    smallest_px=32,
    multiple_px=PATCH_PX,
    adapt=adapt,
    published=torchvision_weights("vit_b_16-c867db91.pth", size_mb=330.3, top1=81.072),
)
