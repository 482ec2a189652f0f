"""Inception v3's auxiliary classifier against torchvision's; GoogLeNet's are tested with GoogLeNet."""

import pytest
import torch
from torch import nn

from regraft.backbones._torchvision import torchvision_models
from regraft.nn.side_heads import InceptionV3SideHead


def test_at_the_published_size_it_is_torchvisions() -> None:
    torch.manual_seed(0)
    original = torchvision_models().inception.InceptionAux(32, 5).eval()
    head = InceptionV3SideHead(32, 5).eval()
    assert [p.shape for p in head.parameters()] == [p.shape for p in original.parameters()]
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    head.load_state_dict(original.state_dict())
    grid = torch.randn(2, 32, 17, 17)
    with torch.no_grad():
        torch.testing.assert_close(head(grid), original(grid))


@pytest.mark.parametrize("side", [3, 5, 16, 20])
def test_it_takes_grids_that_torchvisions_does_not(side: int) -> None:
    torch.manual_seed(0)
    head = InceptionV3SideHead(8, 3).eval()
    grid = torch.randn(2, 8, side, side)
    pooled = nn.functional.adaptive_avg_pool2d(grid, 5)
    expected = head.fc(head.conv1(head.conv0(pooled)).flatten(1))
    torch.testing.assert_close(head(grid), expected)
    assert expected.shape == (2, 3)
