"""Other numbers of input channels than a network was made for: its first convolution adapted, generically.

Letters: o filters, i channels before, n channels after, h and w height and width of the filters.

One channel: each filter becomes the sum of its channels, every one divided by its standard deviation, so that a grey
image gives what it gave as three equal channels. The means go into the filter's bias, which is added where there was
none; only where the filter hangs over the edge, and the channels' means differ, is the sum another: padding is zero
after normalisation, and stands for three greys before and for one now. N channels: the filters are repeated in a cycle
and scaled by 3/N, so that sums stay of one size (timm's rule; Wightman 2019, `adapt_input_conv`); what the channels
mean, the network has to learn.
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
"""Raised when the rule changes, so that adapted weights are made again."""


def with_channels(backbone: Backbone, channels: int) -> Backbone:
    """The same network for inputs of so many channels.

    Raises:
        BadRequest: it does not begin with a convolution that uses its weights as they are, or was made by us for other
            channels already.
    """
    before, family = backbone.card, backbone.family
    natural = family.card(before.variant).channels
    if before.channels != natural:
        raise BadRequest(
            f"{before.name} takes {counted(before.channels, 'channel')}, adapted from {natural}; {channels} were asked "
            "for.",
            fix=f"leave channels out, or start from the weights that take {natural}.",
        )
    card = adapted_card(before, channels)

    def convert(folder: Any) -> None:
        network = backbone.fresh_network()
        conv = first_convolution(network, natural)
        if conv is None:
            raise BadRequest(
                f"{before.name} does not begin with a convolution on its {natural} channels, so its input cannot be "
                "adapted.",
                fix=f"leave channels out, or take another backbone for data of {channels} channels.",
            )
        if not weights_are_used_as_they_are(conv):
            raise BadRequest(
                f"The first convolution of {before.name} changes its weights before it uses them (standardises them), "
                "so filters that are summed or repeated would not give what they gave.",
                fix=f"leave channels out, or take another backbone for data of {channels} channels.",
            )
        adapt(conv, before, card)
        write_converted(folder, network, card.num_source_classes)

    return kept(family, card, {"channels": [REVISION, channels], "backbone": backbone.digest()}, convert)


def weights_are_used_as_they_are(conv: "nn.Conv2d") -> bool:
    """Whether doubled weights give doubled outputs, which those of a layer that standardises its weights do not."""
    import torch
    from torch.func import functional_call

    noise = torch.randn(1, conv.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    bias = {} if conv.bias is None else {"bias": torch.zeros_like(conv.bias)}
    with torch.no_grad():
        once, twice = (functional_call(conv, {"weight": k * conv.weight, **bias}, (noise,)) for k in (1, 2))
    return bool((twice - 2 * once).abs().max() <= 1e-4 * once.abs().max())


def adapted_card(card: Card, channels: int) -> Card:
    """The card for so many channels: for one, mean and deviation averaged; else those of the channels in a cycle."""
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
    """Change a convolution on normalised inputs, in place, from the channels of one card to those of another."""
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
    """One channel's filters, and the constants that the means of several channels were.

    `sum_c W_c (p - m_c) / s_c = W (p - m) / s + b` for every p, with `W = s sum_c W_c / s_c` and
    `b = sum_c W_c (m - m_c) / s_c` summed over the filter's extent.
    """
    import torch

    mean, std = (torch.tensor(of, dtype=torch.float64).view(1, -1, 1, 1) for of in (before.mean, before.std))
    divided = weight.double() / std
    summed = after.std[0] * divided.sum(dim=1, keepdim=True)
    bias = (divided * (after.mean[0] - mean)).sum(dim=(1, 2, 3))
    return summed.float(), bias.float()
