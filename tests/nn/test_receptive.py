"""Receptive fields, by hand, against published ones, and against what a gradient reaches."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from networks import costs_of
from regraft.nn.accounting import account
from regraft.nn.googlenet import GoogLeNet, variant_named
from regraft.nn.receptive import Reach


class Applied(nn.Module):
    """A function as a module, with parts that it may use."""

    def __init__(self, function: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.parts)


def reach(module: nn.Module, side: int = 32, channels: int = 2) -> Reach | None:
    """What a cell of the output depends on."""
    return account(module, torch.ones(1, channels, side, side)).outputs[""].reach


def conv(kernel: Any, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(2, 2, kernel, stride, padding="same" if stride == 1 else 0, dilation=dilation)


def test_windows_on_windows_widen_the_field_by_the_steps_below() -> None:
    found = reach(nn.Sequential(conv(7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(2), conv(3)))
    assert found is not None
    assert (found.field, found.step, found.cells) == ((7 + 2 * 2 + 2 * 4,) * 2, (4, 4), (6, 6))
    assert (found.whole, found.gated) == (False, False)


def test_height_and_width_are_told_apart() -> None:
    found = reach(nn.Sequential(conv((1, 7)), nn.AvgPool2d((2, 1)), conv((3, 1), dilation=2)))
    assert found is not None
    assert (found.field, found.step) == ((1 + 1 + 4 * 2, 7), (2, 1))


def test_of_branches_the_widest_counts_and_a_shortcut_takes_nothing_away() -> None:
    branches = Applied(lambda x, a, b, c: torch.cat([a(x), b(x), c(x)], 1), conv(1), conv(3), conv(5))
    residual = Applied(lambda x, a: functional.relu(x + a(x), inplace=True), conv(3))
    for module, side in ((branches, 5), (residual, 3)):
        found = reach(module)
        assert found is not None
        assert found.field == (side, side)


@pytest.mark.parametrize(
    "top",
    [
        Applied(lambda x: x.mean((2, 3))),
        Applied(lambda x: functional.adaptive_avg_pool2d(x, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(2 * 32 * 32, 3)),
        Applied(lambda x: functional.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)[:, None]] * 3)),
    ],
    ids=["mean", "pool", "dense", "attention"],
)
def test_what_sees_every_cell_depends_on_the_whole_input(top: nn.Module) -> None:
    found = reach(nn.Sequential(conv(3), top))
    assert found is not None
    assert found.whole
    assert not found.gated


def test_a_dense_layer_on_every_cell_sees_no_more_than_the_cell() -> None:
    found = reach(nn.Sequential(conv(3), Applied(lambda x, a: a(x.permute(0, 2, 3, 1)), nn.Linear(2, 5))))
    assert found is not None
    assert (found.field, found.whole) == ((3, 3), False)


def test_a_dense_layer_on_a_grid_of_one_cell_sees_what_the_cell_sees() -> None:
    found = reach(nn.Sequential(nn.Conv2d(2, 4, 9), nn.Flatten(), nn.Linear(4, 2)), side=9)
    assert found is not None
    assert (found.field, found.whole) == ((9, 9), False)


def test_a_factor_from_the_whole_input_is_told_as_a_gate() -> None:
    gate = Applied(lambda x, a: x * torch.sigmoid(a(x.mean((2, 3), keepdim=True))), nn.Conv2d(2, 2, 1))
    for module in (nn.Sequential(conv(3), gate, conv(3)), nn.Sequential(conv(5), nn.GroupNorm(1, 2))):
        found = reach(module)
        assert found is not None
        assert (found.field, found.whole, found.gated) == ((5, 5), False, True)


def test_windows_of_attention_and_unknown_operations_are_not_guessed_at() -> None:
    windows = Applied(lambda x: functional.scaled_dot_product_attention(*[x.reshape(1, 64, 16, 2)] * 3))
    assert reach(nn.Sequential(conv(3), windows)) is None
    assert reach(nn.Sequential(conv(3), Applied(lambda x: torch.roll(x, 3, 2)), conv(3))) is None


@pytest.mark.parametrize(
    ("spec", "path", "side"),
    [
        ("alexnet:torchvision", "parts.5", 195),
        ("vgg16:torchvision", "parts.5", 212),
        ("inception_v3:torchvision", "parts.12", 1311),
        ("resnet18:torchvision", "parts.5", 435),
        ("efficientnet_b0:torchvision", "parts.9", 851),
    ],
)
def test_fields_are_those_that_are_published(spec: str, path: str, side: int) -> None:
    found = costs_of(spec).outputs[path].reach
    assert found is not None
    assert found.field == (side, side)


def test_the_gradient_of_one_cell_reaches_as_far_as_the_field_and_no_farther() -> None:
    """Of GoogLeNet up to 4a, with averages for its maxima, so that every cell of a window has a gradient."""
    net = GoogLeNet(variant=variant_named("paper"), num_classes=2, width=0.1).double()
    for part in net.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(part, name, pool)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
    below = nn.Sequential(*list(net.stages().values())[:4])
    found = account(below, torch.ones(1, 3, 224, 224).double()).outputs[""].reach
    image = torch.ones(1, 3, 224, 224).double().requires_grad_()
    below(image)[0, :, 7, 7].sum().backward()
    assert image.grad is not None
    rows, columns = (image.grad[0].abs().sum((0, axis)) > 0 for axis in (2, 1))
    assert found is not None
    assert (int(rows.sum()), int(columns.sum())) == found.field == (171, 171)
