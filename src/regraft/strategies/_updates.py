"""Low-rank updates of the layers of a tail, with peft: added, and merged into the layers afterwards.

A layer with weight W computes W x + (alpha / rank) B A x, where A (rank × inputs) is random and B (outputs × rank)
is initially zero, so that outputs do not change at first. In a convolution A has the layer's kernel size and stride,
and B is 1 × 1.
Merging adds (alpha / rank) B A to W.

An attention layer holds its projections in one parameter, so peft adds the update before each pass and subtracts it
afterwards; rounding changes a few units in the last place.

Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; the convolutional form is peft's.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from regraft.errors import MissingExtra
from regraft.strategies.tail import Tail

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layers_of(tail: nn.Module, kinds: str) -> dict[str, nn.Module]:
    """Return the layers of the tail's stages that may have an update, by name: `linear` ones (including the projections
    of attention), `convolutions` or `all`."""
    wanted = (() if kinds == "convolutions" else (nn.Linear, nn.MultiheadAttention)) + (
        () if kinds == "linear" else CONVOLUTIONS
    )
    every = dict(_whole("stages", tail.get_submodule("stages")))
    return {
        name: layer
        for name, layer in every.items()
        if isinstance(layer, wanted) or (kinds != "convolutions" and _turned(layer))
    }


def _turned(layer: nn.Module) -> bool:
    """Return whether it is a linear layer of GPT-2, whose weight transformers stores transposed."""
    return type(layer).__name__ == "Conv1D"


def mergeable(layer: nn.Module) -> bool:
    """Return whether peft's update of this layer can be merged: not for convolutions with groups, dilation, or padding
    other than zeros; nor for attention whose keys and values have different widths."""
    if isinstance(layer, CONVOLUTIONS):
        return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return not isinstance(layer, nn.MultiheadAttention) or layer.in_proj_weight is not None


class Updates:
    """Updates in some layers of a tail. Its other parameters are frozen, except those of the head."""

    def __init__(self, tail: Tail, layers: dict[str, nn.Module], *, rank: int, alpha: float, dropout: float) -> None:
        """Add the updates; A is drawn from torch's generator.

        Raises:
            MissingExtra: peft is not installed.
        """
        peft, self.num_layers = _peft(), len(layers)
        weights = {id(weight) for layer in layers.values() for weight in _weights(layer)}
        self.changed = frozenset(name for name, tensor in tail.tensors().items() if id(tensor) in weights)
        """Canonical names of the weights that merging changes."""
        turned = any(map(_turned, layers.values()))
        config = peft.LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(layers), fan_in_fan_out=turned
        )
        self._model: Any = peft.LoraModel(tail, config, "default")
        tail.head.requires_grad_(True)

    def merge(self) -> None:
        """Add each update to its layer's weight and remove it; the tail's tensors then have their original names."""
        self._model.merge_and_unload(progressbar=False, safe_merge=True)


def _whole(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Return every module by name; attention counts as one, since it never calls its submodules."""
    yield name, module
    if not isinstance(module, nn.MultiheadAttention):
        for child, inner in module.named_children():
            yield from _whole(f"{name}.{child}", inner)


def _weights(layer: nn.Module) -> list[Tensor]:
    if isinstance(layer, nn.MultiheadAttention):
        return [layer.in_proj_weight, layer.out_proj.weight]
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return [weight]


def _peft() -> Any:
    from regraft.nn.torchvision import torchvision_models

    torchvision_models()  # what peft is built on imports torchvision the plain way
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("peft", "lora", "The strategy lora") from error
    return peft
