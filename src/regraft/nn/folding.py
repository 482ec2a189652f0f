"""Fold batch norm into the preceding convolution: the same function in evaluation mode, in fewer operations.

Pairs of convolution and batch norm are found in one forward pass, independently of how the network is written: a pair
is folded if both were called once and the batch norm received the very tensor returned by the convolution. Other uses
of that tensor cannot be detected, so the folded network is compared with the original. Batch norm layers that do more
(timm's include the activation) are left unchanged.

Source: Jacob et al. 2017, arXiv:1712.05877, section 3.2; the arithmetic is torch's own (`fuse_conv_bn_eval`).
"""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)

TOLERANCE = 1e-4
"""Maximum difference due to folding, relative to the largest value of an output. Our choice; 1e-6 is usual."""


def folded(module: M, call: Callable[[M], tuple[Tensor, ...]]) -> M:
    """Return a copy of `module`, which is in evaluation mode, with batch norm folded; a plain copy if that changes
    results.

    `call(module)` runs the module on an example and returns its outputs.
    """
    plain = copy.deepcopy(module)
    with torch.no_grad():
        pairs, expected = _pairs(plain, call)
        if not pairs:
            return plain
        result = copy.deepcopy(module)
        for conv_name, norm_name in pairs:
            conv, norm = result.get_submodule(conv_name), result.get_submodule(norm_name)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            _replace(result, conv_name, fuse_conv_bn_eval(conv, norm))
            _replace(result, norm_name, nn.Identity())
        same = all(map(_close, call(result), expected))
    return result if same else plain


def _pairs(module: M, call: Callable[[M], tuple[Tensor, ...]]) -> tuple[list[tuple[str, str]], tuple[Tensor, ...]]:
    """Return the names of the pairs, and the module's outputs."""
    calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def note(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.setdefault(part, []).append((inputs[0], output))

    named = {part: name for name, part in module.named_modules()}
    watched = [part for part in named if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    handles = [part.register_forward_hook(note) for part in watched]
    try:
        outputs = call(module)
    finally:
        for handle in handles:
            handle.remove()
    once = {part: seen[0] for part, seen in calls.items() if len(seen) == 1}
    made = {id(output): part for part, (_, output) in once.items() if isinstance(part, nn.Conv2d)}
    pairs = [
        (named[made[id(taken)]], named[part])
        for part, (taken, _) in once.items()
        if type(part) is nn.BatchNorm2d and id(taken) in made and part.running_mean is not None
    ]
    return pairs, outputs


def _replace(module: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, new)


def _close(found: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point():
        return bool((found == expected).all())
    scale = float(expected.abs().max()) or 1.0
    return float((found - expected).abs().max()) <= TOLERANCE * scale
