"""torchvision's image networks, each with its published ImageNet weights; GoogLeNet has a separate file.

Weights are torchvision's `IMAGENET1K_V1`, trained with the plain recipe that most published comparisons start from.
torchvision's layers are used unchanged, grouped into stages: a stage is a block named in the paper, and in most
networks ends before the grid is halved. Only the last linear layer is the source classifier: a dropout right before it
belongs to the head, which has its own option; any other dropout, and stochastic depth, belongs to its stage and is
active in training as in the original.

Imports no torch until a network is built.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from regraft.backbones.googlenet import imagenet_card, preparation, torchvision_weights
from regraft.contracts.family import Card, Family

if TYPE_CHECKING:
    from torch import nn

    from regraft.contracts.backbone import Readouts, State
    from regraft.contracts.family import Built

    Parts = tuple[Any, Iterable[nn.Module], Callable[[State], Readouts]]
    """torchvision's model, its modules by stage from the input upwards, and the readouts of the top state."""

NAMES = (
    "alexnet",
    "efficientnet_b0",
    "inception_v3",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet50",
    "vgg16",
    "vit_b_16",
)

DENSE_TOP = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
INCEPTION_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
INCEPTION_SIDE_CHANNELS = 768
MOBILENET = ("stem", "c1", "c2", "c3", "c4", "top")
RESNET = ("stem", "layer1", "layer2", "layer3", "layer4")
PATCH_PX = 16


def _model(card: Card, **options: Any) -> Any:
    """Return torchvision's model of the card's name with random weights, initialised by torchvision."""
    from regraft.nn.torchvision import torchvision_models

    return torchvision_models().get_model(card.family, weights=None, num_classes=card.num_source_classes, **options)


def _initialised(card: Card, **options: Any) -> Any:
    """Return the same model, initialised by our rule (`initialise`) from torch's global generator.

    torchvision's own rules assume batch norm in training mode. In evaluation mode, where untrained statistics have no
    effect, features of random weights shrink to 1e-8 (Inception v3), 1e-10 (MobileNetV3) or 1e-14 (EfficientNet-B0) of
    the input's scale; with ours, they keep it or lose a few digits.
    """
    from regraft.nn.initialise import Undrawn, initialise

    with Undrawn():
        net = _model(card, **options)
    initialise(net)
    return net


def _dense_top(card: Card, *, conv_ends: Sequence[int], dense_ends: Sequence[int]) -> "Parts":
    """AlexNet and VGG-16: convolutions below two wide linear layers, which are pretrained and so are stages.

    `conv_ends` and `dense_ends` are the indices in the original's `features` and `classifier` at which stages end. The
    pool in between, adaptive in the original, is fixed for the grid given by the card's input size.
    """
    from torch import nn

    from regraft.nn.stages import FixedAveragePool, grid_after, slices, vector_readouts

    net = _initialised(card)
    pool = FixedAveragePool(grid_after(net.features, card.preparation.input_px), net.avgpool.output_size)
    fc6, fc7 = slices(net.classifier, dense_ends)
    bodies = (*slices(net.features, conv_ends), nn.Sequential(pool, nn.Flatten(), fc6), fc7)
    return net, bodies, vector_readouts


def _efficientnet(card: Card) -> "Parts":
    """EfficientNet, with the paper's stages (table 1): stem, seven groups of blocks, and `top`, the last 1x1
    convolution."""
    from regraft.nn.stages import grid_readouts

    net = _initialised(card)
    return net, net.features, grid_readouts


def _inception_v3(card: Card) -> "Parts":
    """Inception v3 without the original's auxiliary head; fine-tuning creates a new one on request."""
    from torch import nn

    from regraft.nn.stages import grid_readouts

    net = _initialised(card, aux_logits=False, init_weights=False)
    first = (net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.maxpool1)
    stem = nn.Sequential(*first, net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, net.maxpool2)
    return net, (stem, *(net.get_submodule(f"Mixed_{name}") for name in INCEPTION_BLOCKS)), grid_readouts


def _mobilenet_v3(card: Card, *, ends: Sequence[int]) -> "Parts":
    """MobileNetV3; stages begin at torchvision's marks C1 to C4, each time the resolution is halved.

    `ends` are the indices in the original's `features` at which the stages below `top` end. `top` is the paper's
    efficient last stage (figure 5): a 1x1 convolution, global average pooling and a linear layer.
    """
    from torch import nn

    from regraft.nn.stages import slices, vector_readouts

    net = _initialised(card)
    dense, rectifier, *_ = net.classifier
    top = nn.Sequential(net.features[-1], net.avgpool, nn.Flatten(), dense, rectifier)
    return net, (*slices(net.features, ends), top), vector_readouts


def _resnet(card: Card) -> "Parts":
    """ResNet. In ResNet-50 torchvision strides in a block's 3x3 convolution ("v1.5"), the paper in the 1x1 before
    it."""
    from torch import nn

    from regraft.nn.stages import grid_readouts

    net = _model(card)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return net, (stem, net.layer1, net.layer2, net.layer3, net.layer4), grid_readouts


def _vit(card: Card) -> "Parts":
    """Vision transformer. The class token is part of the state; the position embedding belongs to the first stage, the
    final layer norm to the last."""
    from torch import nn

    from regraft.nn.stages import Embeddings, class_token_readouts

    net = _model(card, image_size=card.preparation.input_px[0])
    *lower, last = net.encoder.layers
    embeddings = Embeddings(net.conv_proj, net.class_token, net.encoder.pos_embedding)
    return net, (embeddings, *lower, nn.Sequential(last, net.encoder.ln)), class_token_readouts


def _resized(tensors: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """Return a vision transformer's tensors, with the position embedding interpolated to the card's input size.

    Source: Dosovitskiy et al. 2020, section 3.2; torchvision's own routine.
    """
    input_px, key = card.preparation.input_px[0], "encoder.pos_embedding"
    if key not in tensors or tensors[key].shape[1] == (input_px // PATCH_PX) ** 2 + 1:
        return tensors
    from regraft.nn.torchvision import torchvision_models

    interpolate = torchvision_models().vision_transformer.interpolate_embeddings
    return interpolate(input_px, PATCH_PX, dict(tensors))


def _family(
    name: str,
    *,
    parts: "Callable[[Card], Parts]",
    classifier: str,
    stages: tuple[str, ...],
    width: int,
    partial_cut: str,
    facts: Mapping[str, Any] | None = None,
    smallest_px: int = 32,
    **others: Any,
) -> Family:
    """Return the family of torchvision's model `name`: `facts` are fields of its card, `others` those of the family."""

    def build(card: Card) -> "Built":
        from regraft.contracts.family import Built, SideHead
        from regraft.nn.inception import InceptionV3SideHead
        from regraft.nn.stages import staged

        net, bodies, readouts = parts(card)
        make = partial(InceptionV3SideHead, INCEPTION_SIDE_CHANNELS)  # the only network here with a side head
        network = staged(
            card,
            bodies,
            readouts=readouts,
            source_head=net.get_submodule(classifier),
            side_heads={stage: SideHead(weight=weight, build=make) for stage, weight in card.side_heads.items()},
        )
        return Built(network=network, original=net)

    return Family(
        name=name,
        revision=1,
        variants=("torchvision",),
        card=partial(imagenet_card, name, stages=stages, width=width, partial_cut=partial_cut, **facts or {}),
        build=build,
        classifier=f"{classifier}.weight",
        smallest_px=smallest_px,
        **others,
    )


_dense = partial(_family, classifier="classifier.6", stages=DENSE_TOP, width=4096, partial_cut="fc6")
_mobile = partial(
    _family,
    source="Howard et al. 2019, arXiv:1905.02244",
    classifier="classifier.3",
    stages=MOBILENET,
    partial_cut="c3",
)
_residual = partial(
    _family,
    source="He et al. 2015, arXiv:1512.03385",
    parts=_resnet,
    classifier="fc",
    stages=RESNET,
    partial_cut="layer3",
)

_FAMILIES = (
    # The single-column network of "One weird trick". Partial fine-tuning of it and of VGG-16 trains `fc7` (our choice):
    # 17 million parameters, about what other backbones train; `fc6` alone would add 38 (AlexNet) or 103 (VGG-16).
    _dense(
        "alexnet",
        title="AlexNet: five convolutions and two wide dense layers, 61.1 million parameters",
        prefer="for comparison with early work on transfer, which used its fc6 and fc7; other networks give more for "
        "less; 57 % on ImageNet for 0.7 billion multiply-adds",
        source="Krizhevsky 2014, arXiv:1404.5997",
        parts=partial(_dense_top, conv_ends=(3, 6, 8, 10, 13), dense_ends=(3, 6)),
        smallest_px=63,
        published=torchvision_weights("alexnet-owt-7be5be79.pth", size_mb=233.1, top1=56.522),
    ),
    # Its weights are ported from timm; their preparation is bicubic.
    _family(
        "efficientnet_b0",
        title="EfficientNet-B0: depthwise convolutions and channel gates, 5.3 million parameters",
        prefer="for accuracy at low cost: 78 % on ImageNet, exceeded only by ViT-B/16 here, for 0.4 billion "
        "multiply-adds",
        source="Tan & Le 2019, arXiv:1905.11946",
        parts=_efficientnet,
        classifier="classifier.1",
        stages=("stem", *(f"block{i}" for i in range(1, 8)), "top"),
        width=1280,
        partial_cut="block5",
        facts={"preparation": preparation(interpolation="bicubic")},
        published=torchvision_weights("efficientnet_b0_rwightman-7f5810bc.pth", size_mb=20.5, top1=77.692),
    ),
    # Its weights are ported from TensorFlow and take inputs in [-1, 1]; torchvision maps its ImageNet-normalised input
    # back inside the network; the card has mean 0.5 and standard deviation 0.5 instead (see googlenet.py). Weight
    # of the side head: PyTorch's tutorial on fine-tuning torchvision's models; the paper gives none.
    _family(
        "inception_v3",
        title="Inception v3: GoogLeNet's successor, its kernels factorised, 23.8 million parameters",
        prefer="for fine detail, thanks to its 299-pixel inputs: 77 % on ImageNet for 5.7 billion multiply-adds",
        source="Szegedy et al. 2015, arXiv:1512.00567",
        parts=_inception_v3,
        classifier="fc",
        stages=("stem", *INCEPTION_BLOCKS),
        width=2048,
        partial_cut="7a",
        facts={"preparation": preparation(299, 342), "side_heads": {"6e": 0.4}},
        smallest_px=75,
        untrained=("AuxLogits.",),
        published=torchvision_weights(
            "inception_v3_google-0cc3c7bd.pth",
            size_mb=103.9,
            top1=77.294,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            notes=("The auxiliary head in this file is left out; auxiliary heads start from random weights.",),
        ),
    ),
    _mobile(
        "mobilenet_v3_large",
        title="MobileNetV3, large: depthwise convolutions and channel gates, 5.5 million parameters",
        prefer="for small machines: more accurate on ImageNet (74 %) than GoogLeNet at a seventh of its cost (0.2 "
        "billion multiply-adds)",
        parts=partial(_mobilenet_v3, ends=(2, 4, 7, 13, 16)),
        width=1280,
        published=torchvision_weights("mobilenet_v3_large-8738ca79.pth", size_mb=21.1, top1=74.042),
    ),
    _mobile(
        "mobilenet_v3_small",
        title="MobileNetV3, small: depthwise convolutions and channel gates, 2.5 million parameters",
        prefer="where every millisecond counts: the cheapest here (0.06 billion multiply-adds), with 68 % on ImageNet",
        parts=partial(_mobilenet_v3, ends=(1, 2, 4, 9, 12)),
        width=1024,
        published=torchvision_weights("mobilenet_v3_small-047dcff4.pth", size_mb=9.8, top1=67.668),
    ),
    _residual(
        "resnet18",
        title="ResNet-18: residual blocks, 11.7 million parameters",
        prefer="for comparison with published work, where it is common, at about GoogLeNet's cost (1.8 billion "
        "multiply-adds)",
        width=512,
        published=torchvision_weights("resnet18-f37072fd.pth", size_mb=44.7, top1=69.758),
    ),
    # IMAGENET1K_V2 is more accurate on ImageNet itself (80.858 %), partly due to label smoothing, which makes
    # frozen features transfer worse (Kornblith et al. 2019, arXiv:1805.08974); its file can be given as
    # `resnet50@file:PATH`.
    _residual(
        "resnet50",
        title="ResNet-50: residual blocks with bottlenecks, 25.6 million parameters",
        prefer="for comparison with published work on transfer, where it is the standard: 76 % on ImageNet for 4.1 "
        "billion multiply-adds",
        width=2048,
        published=torchvision_weights("resnet50-0676ba61.pth", size_mb=97.8, top1=76.130),
    ),
    # Configuration D: 3x3 convolutions in five blocks, no batch norm.
    _dense(
        "vgg16",
        title="VGG-16: thirteen 3x3 convolutions and two wide dense layers, 138.4 million parameters",
        prefer="for comparison with published work on its features; needs the most memory here and ten times "
        "GoogLeNet's compute (15.5 billion multiply-adds); 72 % on ImageNet",
        source="Simonyan & Zisserman 2014, arXiv:1409.1556",
        parts=partial(_dense_top, conv_ends=(5, 10, 17, 24, 31), dense_ends=(2, 5)),
        published=torchvision_weights("vgg16-397923af.pth", size_mb=527.8, top1=71.592),
    ),
    _family(
        "vit_b_16",
        title="ViT-B/16: a transformer on patches of 16 pixels, 86.6 million parameters",
        prefer="for accuracy over speed: the most accurate here (81 % on ImageNet) and the costliest, twelve times "
        "GoogLeNet's cost (17.6 billion multiply-adds)",
        source="Dosovitskiy et al. 2020, arXiv:2010.11929",
        parts=_vit,
        classifier="heads.head",
        stages=("embeddings", *(f"layer.{i}" for i in range(12))),
        width=768,
        partial_cut="layer.8",
        multiple_px=PATCH_PX,
        adapt=_resized,
        published=torchvision_weights("vit_b_16-c867db91.pth", size_mb=330.3, top1=81.072),
    ),
)

ENTRIES = {family.name: family for family in _FAMILIES}
