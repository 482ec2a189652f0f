"""The linear head, and Inception v3's side head against torchvision's; GoogLeNet's are tested with GoogLeNet."""

import pytest
import torch
from torch import nn

from regraft.nn.inception import InceptionV3SideHead
from regraft.nn.stages import PooledHead
from regraft.nn.torchvision import torchvision_models


def test_an_untrained_head_gives_every_class_the_same_probability() -> None:
    probabilities = PooledHead(6, 4)(torch.randn(3, 6)).softmax(1)
    torch.testing.assert_close(probabilities, torch.full((3, 4), 0.25), rtol=0, atol=0)


def test_a_head_is_a_dense_layer() -> None:
    dense, head = torch.nn.Linear(6, 4), PooledHead(6, 4)
    head.load_state_dict(dense.state_dict(), strict=True)
    x = torch.randn(3, 6)
    torch.testing.assert_close(head(x), dense(x), rtol=0, atol=0)


def test_a_head_at_zero_has_a_gradient() -> None:
    head = PooledHead(6, 4)
    torch.nn.functional.cross_entropy(head(torch.randn(3, 6)), torch.tensor([0, 1, 2])).backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


def test_dropout_acts_in_training_only() -> None:
    head = PooledHead(50, 1, dropout=0.5)
    torch.nn.init.ones_(head.weight)
    x = torch.ones(1, 50)
    assert head.eval()(x).item() == 50
    torch.manual_seed(0)
    assert len({head.train()(x).item() for _ in range(5)}) > 1


def test_inception_v3s_side_head_is_torchvisions_at_the_published_size() -> None:
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
def test_inception_v3s_side_head_takes_grids_that_torchvisions_does_not(side: int) -> None:
    torch.manual_seed(0)
    head = InceptionV3SideHead(8, 3).eval()
    grid = torch.randn(2, 8, side, side)
    pooled = nn.functional.adaptive_avg_pool2d(grid, 5)
    expected = head.fc(head.conv1(head.conv0(pooled)).flatten(1))
    torch.testing.assert_close(head(grid), expected)
    assert expected.shape == (2, 3)
