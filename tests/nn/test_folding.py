"""Folding batch norm changes no number beyond rounding, and leaves alone what it must."""

import pytest
import torch
from torch import Tensor, nn

from regraft.nn.folding import folded
from regraft.nn.googlenet import GoogLeNet, variant_named


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def seeded(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return module.eval()


class Residual(nn.Module):
    """Convolution, batch norm, and the convolution's output added again when `both`; shared when `twice`."""

    def __init__(self, *, both: bool = False, twice: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.both, self.twice = both, twice

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        x = self.norm(made) + (made if self.both else 0)
        return self.norm(self.conv(x)) if self.twice else x


def test_a_folded_network_gives_the_same_numbers_without_batch_norm() -> None:
    torch.manual_seed(0)
    net = seeded(GoogLeNet(variant=variant_named("bn"), width=0.25, num_classes=5))
    x = torch.randn(2, 3, 64, 64)
    found = folded(net, lambda module: (module(x),))
    assert norms(net) == 57
    assert norms(found) == 0
    with torch.no_grad():
        torch.testing.assert_close(found(x), net(x), rtol=1e-5, atol=1e-5)


def test_the_original_keeps_its_tensors() -> None:
    net = seeded(Residual())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folded(net, lambda module: (module(torch.ones(1, 3, 4, 4)),))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("how", [{"both": True}, {"twice": True}], ids=["read by another", "called twice"])
def test_a_pair_that_cannot_be_folded_stays(how: dict[str, bool]) -> None:
    torch.manual_seed(0)
    net, x = seeded(Residual(**how)), torch.randn(2, 3, 5, 5)
    found = folded(net, lambda module: (module(x),))
    assert norms(found) == 1
    with torch.no_grad():
        assert torch.equal(found(x), net(x))


def test_batch_norm_before_a_convolution_stays() -> None:
    net, x = seeded(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3))), torch.ones(1, 3, 6, 6)
    assert norms(folded(net, lambda module: (module(x),))) == 1


def test_batch_norm_without_running_statistics_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    x = torch.randn(3, 3, 6, 6)
    assert norms(folded(net, lambda module: (module(x),))) == 1


class Rectified(nn.BatchNorm2d):
    """Batch norm and the rectifier behind it in one module, as timm writes them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_batch_norm_that_does_more_stays_while_others_are_folded() -> None:
    net = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), Rectified(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    x = torch.randn(2, 3, 6, 6)
    found = folded(net, lambda module: (module(x),))
    assert norms(found) == 1
    with torch.no_grad():
        torch.testing.assert_close(found(x), net(x), rtol=1e-4, atol=1e-5)
