"""Activation memory, by hand and against the autograd graph itself."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs import own_memory, saved_in_graph
from regraft.nn.accounting import account
from regraft.nn.googlenet import GoogLeNet, variant_named


def running_bytes(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Most bytes alive at once by the path of the module that ran."""
    return {name: output.running_bytes for name, output in account(module, *inputs).outputs.items()}


def kept_bytes(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Bytes kept for the backward pass by the path of the layer."""
    return {layer.name: layer.kept_bytes for layer in account(module, *inputs, training=True).layers}


class EncoderBlock(nn.Module):
    """Norm, attention, norm, two dense layers, with shortcuts."""

    def __init__(self, *, heads: int, width: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.first(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return x + self.dense(self.second(x))


def test_running_takes_what_is_alive_at_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 16, 1), nn.Flatten())
    found = running_bytes(net, torch.ones(1, 3, 8, 8))
    first, pooled, second = 4 * 8 * 64, 4 * 8 * 16, 4 * 16 * 16
    assert found["0"] == first
    assert found["1"] == first + pooled + 8 * 8 * 16  # the places of the maxima, 64-bit
    assert found["2"] == pooled + second
    assert found["3"] == second
    assert found[""] == max(found.values())


def test_memory_that_is_shared_or_overwritten_counts_once() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten())
    inplace = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Flatten())
    image = torch.ones(2, 1, 5, 5)
    assert running_bytes(plain, image)[""] == 2 * 4 * (2 * 4 * 25)
    assert running_bytes(inplace, image)[""] == 4 * (2 * 4 * 25)


def test_what_a_shortcut_needs_stays_alive() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            kept = self.first(x)
            return kept + self.second(kept)

    one = 4 * 2 * 9
    assert running_bytes(Residual(), torch.ones(1, 2, 3, 3))[""] == 3 * one


def test_training_keeps_what_the_backward_pass_needs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    found = kept_bytes(net, torch.ones(2, 3, 4, 4))
    image, grid = 4 * 2 * 3 * 16, 4 * 2 * 8 * 16
    assert found == {"0": image, "1": grid + 2 * 4 * 8, "2": grid, "3": 0, "4": 0}


def test_steps_between_layers_count_with_the_layer_before_them() -> None:
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return functional.relu(self.conv(x))

    assert kept_bytes(Unit(), torch.ones(2, 1, 3, 3)) == {"conv": 4 * 2 * 9 + 4 * 2 * 2 * 9}


def test_what_is_kept_is_what_the_graph_holds() -> None:
    """Walked from the loss down, without the hooks that the count is made with."""
    net = GoogLeNet(variant=variant_named("bn"), num_classes=5, width=0.25, dropout=0.0)
    image = torch.randn(2, 3, 64, 64)
    expected = saved_in_graph(net.train()(image), own_memory(net))
    assert sum(kept_bytes(net, image).values()) == expected
    with torch.device("meta"):
        assert sum(kept_bytes(net.to("meta"), torch.empty(2, 3, 64, 64)).values()) == expected


class Attention(nn.MultiheadAttention):
    """torch's own layer on one sequence."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("kind", ["written out", "torch's layer"])
def test_attention_keeps_what_a_fused_kernel_keeps(kind: str) -> None:
    """Compared with the graph of torch's own kernel on the processor."""
    block: nn.Module = EncoderBlock(heads=4, width=32, hidden=64)
    if kind == "torch's layer":
        block = nn.Sequential(nn.Linear(32, 32), Attention(32, 4, batch_first=True))
    tokens = torch.randn(2, 200, 32)
    kept = kept_bytes(block, tokens)
    assert sum(kept.values()) == saved_in_graph(block.train()(tokens.clone()), own_memory(block))
    pairs = 4 * 2 * 4 * 200 * 200
    assert running_bytes(block, tokens)[""] < pairs


def test_tensors_without_values_take_what_real_ones_do() -> None:
    net = GoogLeNet(variant=variant_named("paper"), num_classes=5, width=0.25)
    real = running_bytes(net, torch.ones(1, 3, 64, 64))
    assert real == running_bytes(net.to("meta"), torch.empty(1, 3, 64, 64, device="meta"))


def test_a_pass_without_training_keeps_nothing() -> None:
    assert account(nn.Linear(3, 2), torch.ones(1, 3)).kept_bytes == 0


def test_counting_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Dropout(0.5)).train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    running_bytes(net, torch.ones(1, 1, 2, 2))
    kept_bytes(net, torch.ones(1, 1, 2, 2))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert [one.requires_grad for one in net.parameters()] == [False, True]
    assert not net[0]._forward_hooks
