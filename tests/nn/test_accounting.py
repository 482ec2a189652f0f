"""Counts against torchvision's published ones and against the paper's own filter counts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.nn.accounting import Account, account
from regraft.nn.googlenet import GoogLeNet, variant_named
from regraft.nn.stages import PooledHead
from regraft.nn.torchvision import torchvision_models

# Weights of the convolutions and millions of multiply-adds at 224 x 224, worked out by hand from the filter counts of
# the paper's table 1: with the true 5x5, then with 3x3 in its place. The paper's own column differs for conv1, 4c, 5a.
ROWS = {
    ("conv1",): (9_408, 118.0, 9_408, 118.0),
    ("conv2", "conv3"): (114_688, 359.7, 114_688, 359.7),
    ("inception3a",): (163_328, 128.0, 155_136, 121.6),
    ("inception3b",): (388_096, 304.3, 338_944, 265.7),
    ("inception4a",): (375_552, 73.6, 363_264, 71.2),
    ("inception4b",): (448_512, 87.9, 423_936, 83.1),
    ("inception4c",): (509_440, 99.9, 484_864, 95.0),
    ("inception4d",): (604_672, 118.5, 571_904, 112.1),
    ("inception4e",): (867_328, 170.0, 801_792, 157.2),
    ("inception5a",): (1_042_432, 51.1, 976_896, 47.9),
    ("inception5b",): (1_442_816, 70.7, 1_344_512, 65.9),
}


def photo(side: int = 224) -> Tensor:
    return torch.zeros(1, 3, side, side)


def googlenet_costs(variant: str) -> Account:
    """Counted on tensors without values, where a pass takes no arithmetic."""
    with torch.device("meta"):
        return account(GoogLeNet(variant=variant_named(variant)), photo())


@pytest.mark.parametrize(
    ("variant", "parameters", "giga"),
    [("torchvision", 6_624_904, 1.498), ("bn", 7_005_832, 1.583), ("paper", 6_998_552, 1.583)],
)
def test_googlenet_costs_what_is_published(variant: str, parameters: int, giga: float) -> None:
    costs = googlenet_costs(variant)
    assert costs.parameters == parameters
    assert round(costs.multiply_adds / 1e9, 3) == giga


@pytest.mark.parametrize(("variant", "column"), [("bn", 0), ("torchvision", 2)])
def test_every_block_costs_what_its_filter_counts_say(variant: str, column: int) -> None:
    costs, found = googlenet_costs(variant), {}
    for paths in ROWS:
        block = [layer for layer in costs.part(*paths).layers if layer.kind == "Conv2d"]
        multiply_adds = sum(layer.multiply_adds for layer in block)
        found[paths] = (sum(layer.parameters for layer in block), round(multiply_adds / 1e6, 1))
    assert found == {paths: row[column : column + 2] for paths, row in ROWS.items()}


@pytest.mark.parametrize("name", ["resnext50_32x4d", "mobilenet_v2", "vit_b_16", "swin_t"])
def test_other_networks_cost_what_torchvision_publishes(name: str) -> None:
    """Grouped and depthwise convolutions, attention by nn.MultiheadAttention and by plain products."""
    models = torchvision_models()
    published = models.get_model_weights(name).DEFAULT.meta
    with torch.device("meta"):
        costs = account(models.get_model(name, weights=None), photo())
    assert costs.parameters == published["num_params"]
    assert round(costs.multiply_adds / 1e9, 3) == published["_ops"]


def test_tensors_without_values_cost_what_real_ones_do() -> None:
    net = GoogLeNet(variant=variant_named("paper"), num_classes=5, width=0.25)
    assert account(net, photo(48)) == account(net.to("meta"), photo(48).to("meta"))


def test_a_layer_has_its_path_kind_shape_and_costs() -> None:
    costs = account(
        nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5)), torch.ones(3, 4, 4, 4)
    )
    assert [(layer.name, layer.kind, layer.output) for layer in costs.layers] == [
        ("0", "Conv2d", (3, 6, 2, 2)),
        ("1", "ReLU", (3, 6, 2, 2)),
        ("2", "Flatten", (3, 24)),
        ("3", "Linear", (3, 5)),
    ]
    assert [layer.parameters for layer in costs.layers] == [6 * 2 * 9 + 6, 0, 0, 24 * 5 + 5]
    assert [layer.multiply_adds for layer in costs.layers] == [3 * 4 * 6 * 9 * 2, 0, 0, 3 * 24 * 5]


def test_attention_is_one_layer_with_its_products() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    tokens = torch.ones(1, 5, 8)
    (layer,) = account(attention, tokens, tokens, tokens).layers
    assert layer.multiply_adds == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
    assert layer.parameters == sum(p.numel() for p in attention.parameters())


def test_a_head_of_our_own_is_counted() -> None:
    costs = account(PooledHead(7, 3), torch.ones(2, 7))
    assert (costs.parameters, costs.multiply_adds) == (24, 2 * 7 * 3)


def test_shared_layers_and_shared_parameters_are_held_once_and_run_twice() -> None:
    layer, twin = nn.Linear(4, 4), nn.Linear(4, 4)
    twin.weight = layer.weight
    costs = account(nn.Sequential(layer, layer, twin), torch.ones(1, 4))
    assert costs.parameters == 16 + 4 + 4
    assert costs.multiply_adds == 3 * 16


def test_a_module_that_never_runs_is_listed_as_such() -> None:
    costs = account(GoogLeNet(variant=variant_named("bn"), num_classes=5, width=0.25, side_heads=True), photo(32))
    idle = costs.part("aux1")
    assert idle.parameters > 0
    assert idle.multiply_adds == 0
    assert all(layer.output is None for layer in idle.layers)


def test_a_record_of_tensors_may_go_in_and_out() -> None:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, state: dict[str, Any]) -> dict[str, Any]:
            return {"note": "no tensor", "hidden": state["hidden"] * self.scale}

    (layer,) = account(Stage(), {"hidden": torch.ones(2, 3)}).layers
    assert (layer.name, layer.output, layer.parameters) == ("", (2, 3), 3)


def test_accounting_leaves_no_trace() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    net[1].eval()
    account(net, torch.randn(4, 3))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert net[0].num_batches_tracked == 0
    assert not net[0]._forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()
