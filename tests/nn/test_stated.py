"""The paper's table 1 against the network that has its filters."""

import torch
from torch import nn

from regraft.nn.googlenet import GoogLeNet, variant_named
from regraft.nn.stated import googlenet_table


def test_three_rows_disagree_with_their_own_filter_counts_and_each_says_why() -> None:
    table = googlenet_table()
    assert [row.name for row in table if not row.agrees] == ["conv1", "4c", "5a"]
    assert [row.name for row in table if row.note] == ["conv1", "4c", "5a"]


def test_what_the_filter_counts_give_is_what_the_network_holds() -> None:
    """Weights of a network built from the filters, biases left out, and their calls on a grid of the table's size."""
    with torch.device("meta"):
        net = GoogLeNet(variant=variant_named("bn"))
    held = dict.fromkeys(("conv1", "conv2", "linear", *(f"inception{s}" for s in net.stages())), 0)
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            row = {"conv3": "conv2", "fc": "linear"}.get(path.partition(".")[0], path.partition(".")[0])
            held[row] += module.weight.numel()
    grids = {"conv1": 112, "conv2": 56, "3": 28, "4": 14, "5": 7, "linear": 1}
    for row in googlenet_table():
        assert row.by_filters == held.get(row.name, held.get(f"inception{row.name}"))
        side = grids.get(row.name) or grids[row.name[0]]
        assert row.multiply_adds_by_filters == row.by_filters * side**2


def test_what_is_said_of_the_rows_that_disagree_holds() -> None:
    rows = {row.name: row for row in googlenet_table()}
    separable = 7 * 7 * 3 * 8 + 3 * 8 * 64
    assert separable == 2_712
    assert f"{separable / 1000:.1f}K {separable * 112**2 / 1e6:.0f}M" == "2.7K 34M"
    assert round(463 * 1024 * 14**2 / 1e6) == 93
    assert round(1 - rows["4c"].parameters / rows["4c"].by_filters, 2) == 0.07
    for stated, counted in (
        (rows["5a"].parameters, rows["5a"].by_filters),
        (rows["5a"].multiply_adds, rows["5a"].multiply_adds_by_filters),
    ):
        assert 0.05 <= stated / counted - 1 < 0.06
    wider = rows["5a"].by_filters + 16 * (832 + 25 * 128)
    assert abs(wider / rows["5a"].parameters - 1) < 0.01
    assert round(wider * 49 / 1e6) == 54
