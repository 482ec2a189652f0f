"""Adapt a network's first convolution to another number of input channels.

Letters: o filters, i original channels, n new channels, h and w height and width of the filters.

One channel: each filter becomes the sum of its channels, each divided by its standard deviation, so that a grey image
gives the same result as three equal channels. The means go into the filter's bias, which is added if there was none.
Results differ only where the filter overlaps the padding and the channels' means differ: padding is zero after
normalisation, and so corresponds to three different greys before and one afterwards. N channels: the filters are
repeated cyclically and scaled by 3/N, which preserves the size of sums (timm's rule; Wightman 2019,
`adapt_input_conv`); the network has to learn what the channels mean.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regraft.backbones.backbone import Backbone
from regraft.backbones.convert import kept, write_converted
from regraft.contracts.family import Card, first_convolution
from regraft.errors import BadRequest
from regraft.words import counted

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

REVISION = 1
"""Increased when the rule changes, so that adapted weights are recomputed."""


def with_channels(backbone: Backbone, channels: int) -> Backbone:
    """Return the same network for inputs with this number of channels.

    Raises:
        BadRequest: the network does not begin with a convolution that uses its weights directly, or was already adapted
            to other channels by Regraft.
    """
    before, family = backbone.card, backbone.family
    natural = family.card(before.variant).channels
    if before.channels != natural:
        raise BadRequest(
            f"{before.name} takes {counted(before.channels, 'channel')}, adapted from {natural}; "
            f"{channels} were requested.",
            fix=f"leave out channels, or start from the weights for {natural}.",
        )
    card = adapted_card(before, channels)

    def convert(folder: Any) -> None:
        network = backbone.fresh_network()
        conv = first_convolution(network, natural)
        if conv is None:
            raise BadRequest(
                f"{before.name} does not start with a convolution on its {natural} channels, so its input cannot be "
                "adapted.",
                fix=f"leave channels out, or take another backbone for data of {channels} channels.",
            )
        if not weights_are_used_as_they_are(conv):
            raise BadRequest(
                f"The first convolution of {before.name} transforms (standardises) its weights before it uses them, "
                "so summed or repeated filters would not give equivalent outputs.",
                fix=f"leave channels out, or take another backbone for data of {channels} channels.",
            )
        adapt(conv, before, card)
        write_converted(folder, network, card.num_source_classes)

    return kept(family, card, {"channels": [REVISION, channels], "backbone": backbone.digest()}, convert)


def weights_are_used_as_they_are(conv: "nn.Conv2d") -> bool:
    """Return whether doubling the weights doubles the outputs; not so for a layer that standardises its weights."""
    import torch
    from torch.func import functional_call

    noise = torch.randn(1, conv.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    bias = {} if conv.bias is None else {"bias": torch.zeros_like(conv.bias)}
    with torch.no_grad():
        once, twice = (functional_call(conv, {"weight": k * conv.weight, **bias}, (noise,)) for k in (1, 2))
    return bool((twice - 2 * once).abs().max() <= 1e-4 * once.abs().max())


def adapted_card(card: Card, channels: int) -> Card:
    """Return the card for this number of channels: for one, with averaged mean and deviation; otherwise with those of
    the channels repeated cyclically."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if channels == 1:
        mean, std = (sum(card.mean) / card.channels,), (sum(card.std) / card.channels,)
        how = "its filters summed over red, green and blue"
    else:
        mean, std = (tuple(of[at % card.channels] for at in range(channels)) for of in (card.mean, card.std))
        how = f"its filters repeated in a cycle and scaled by {card.channels}/{channels}"
    note = f"The first layer was adapted from {card.channels} channels to {channels}: {how}."
    preparation = replace(card.preparation, channels=channels)
    return replace(card, preparation=preparation, mean=mean, std=std, notes=(*card.notes, note))


def adapt(conv: "nn.Conv2d", before: Card, after: Card) -> None:
    """Convert a convolution on normalised inputs, in place, from the channels of one card to those of another."""
    import torch
    from torch import nn

    with torch.no_grad():
        if after.channels == 1:
            weight, bias = _summed(conv.weight, before, after)
            bias = bias if conv.bias is None else bias + conv.bias
        else:
            cycle = [at % before.channels for at in range(after.channels)]
            weight = conv.weight[:, cycle] * (before.channels / after.channels)
            bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias
        conv.in_channels = after.channels
        conv.weight, conv.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())


def _summed(
    weight: "Float[Tensor, 'o i h w']", before: Card, after: Card
) -> "tuple[Float[Tensor, 'o 1 h w'], Float[Tensor, 'o']]":
    """Return the filters for one channel, and the constants contributed by the means of the original channels.

    `sum_c W_c (p - m_c) / s_c = W (p - m) / s + b` for every p, with `W = s sum_c W_c / s_c` and `b = sum_c W_c (m -
    m_c) / s_c` summed over the filter's extent.
    """
    import torch

    mean, std = (torch.tensor(of, dtype=torch.float64).view(1, -1, 1, 1) for of in (before.mean, before.std))
    divided = weight.double() / std
    summed = after.std[0] * divided.sum(dim=1, keepdim=True)
    bias = (divided * (after.mean[0] - mean)).sum(dim=(1, 2, 3))
    return summed.float(), bias.float()
