"""Activation memory, by hand and against the autograd graph itself."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.nn.googlenet import GoogLeNet, variant_named
from regraft.nn.memory import kept_bytes, running_bytes


def saved_in_graph(output: Tensor, own: set[int]) -> int:
    """Bytes of the memory that the graph below `output` holds, parameters and buffers left out."""
    found: dict[int, int] = {}
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        for tensor in _saved(node):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _saved(node: Any) -> Iterator[Tensor]:
    for name in dir(node):
        if name.startswith("_saved_"):
            value = getattr(node, name)
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Tensor))


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
    own = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    expected = saved_in_graph(net.train()(image), own)
    assert sum(kept_bytes(net, image).values()) == expected
    with torch.device("meta"):
        assert sum(kept_bytes(net.to("meta"), torch.empty(2, 3, 64, 64)).values()) == expected


def test_tensors_without_values_take_what_real_ones_do() -> None:
    net = GoogLeNet(variant=variant_named("paper"), num_classes=5, width=0.25)
    real = running_bytes(net, torch.ones(1, 3, 64, 64))
    assert real == running_bytes(net.to("meta"), torch.empty(1, 3, 64, 64, device="meta"))


def test_counting_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Dropout(0.5)).train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    running_bytes(net, torch.ones(1, 1, 2, 2))
    kept_bytes(net, torch.ones(1, 1, 2, 2))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert [one.requires_grad for one in net.parameters()] == [False, True]
    assert not net[0]._forward_hooks
