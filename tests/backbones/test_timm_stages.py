"""A module without some of its parts shares the others, and leaves the original whole."""

import pytest
import torch
from torch import Tensor, nn

from regraft.backbones._timm_stages import without


class Nested(nn.Module):
    """A scale, a body of two layers, and a head within which lies a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("shift", torch.tensor([1.0]))
        self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.head = nn.Sequential()
        self.head.norm, self.head.fc = nn.LayerNorm(3), nn.Linear(3, 2)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x) * self.scale
        return found

    def normed(self, x: Tensor) -> Tensor:
        found: Tensor = self.head.norm(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head.fc(self.normed(self.features(x)))
        return logits


def test_what_is_left_runs_on_the_same_tensors() -> None:
    whole, x = Nested(), torch.randn(2, 3)
    pruned = without(whole, ["head.fc", "nowhere", "nowhere.else"])
    assert set(pruned.state_dict()) == set(whole.state_dict()) - {"head.fc.weight", "head.fc.bias"}
    assert all(tensor is dict(whole.named_parameters())[name] for name, tensor in pruned.named_parameters())
    assert torch.equal(pruned.normed(pruned.features(x)), whole.normed(whole.features(x)))
    with pytest.raises(AttributeError, match="fc"):
        pruned(x)


def test_a_bare_copy_keeps_its_parts_tensors_only() -> None:
    pruned = without(Nested(), ["body"], bare=True)
    assert set(pruned.state_dict()) == {"head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"}


def test_the_original_stays_whole() -> None:
    whole, x = Nested(), torch.randn(2, 3)
    before, names = whole(x), list(whole.state_dict())
    pruned = without(whole, ["head", "body.0"], bare=True)
    pruned.body.add_module("0", nn.Identity())
    assert list(whole.state_dict()) == names
    assert torch.equal(whole(x), before)
