"""Inputs that grow over the epochs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from problems import problem
from regraft.backbones.backbone import Backbone
from regraft.errors import BadRequest
from regraft.strategies._growth import Growth, growth_of


def test_sides_rise_in_steps_of_eight_and_the_last_third_is_whole() -> None:
    growth = Growth(start=0.5, smallest=32)
    sides = [growth.side(64, epoch, 12) for epoch in range(12)]
    assert sides == [32, 32, 40, 40, 48, 48, 56, 56, 64, 64, 64, 64]
    assert [growth.share(epoch, 12) for epoch in (0, 4, 8, 11)] == [0.5, 0.75, 1.0, 1.0]


def test_no_side_is_smaller_than_the_network_needs_or_larger_than_the_whole() -> None:
    assert Growth(start=0.1, smallest=33).side(64, 0, 9) == 40
    assert Growth(start=0.1, smallest=63).side(63, 0, 9) == 63


def test_grids_shrink_by_averaging_and_nothing_else_changes() -> None:
    grid = torch.rand(2, 3, 64, 64)
    state = {"hidden": grid, "mask": torch.ones(2, 64, dtype=torch.bool)}
    shrunk = Growth(start=0.5, smallest=32).shrunk(state, 0, 9)
    assert shrunk["mask"] is state["mask"]
    assert shrunk["hidden"].shape == (2, 3, 32, 32)
    assert torch.allclose(
        shrunk["hidden"][..., 2:-2, 2:-2].mean(), F.avg_pool2d(grid, 2)[..., 2:-2, 2:-2].mean(), atol=1e-3
    )
    assert Growth(start=0.5, smallest=32).shrunk(state, 8, 9)["hidden"] is grid


def test_a_whole_start_is_no_growth(tiny: Backbone) -> None:
    assert growth_of(problem(tiny, "input", views=0).asked, 1.0) is None


def test_stored_states_do_not_grow(tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match=r"start_side is 0\.5, but at cut '4e'"):
        growth_of(problem(tiny, "4e").asked, 0.5)


def test_weights_for_one_input_size_do_not_grow(tiny: Backbone) -> None:
    fixed = replace(tiny.family, adapt=lambda tensors, card: tensors)
    asked = problem(tiny, "input", views=0)
    with pytest.raises(BadRequest, match="for one input size"):
        growth_of(replace(asked, backbone=replace(asked.backbone, family=fixed)).asked, 0.5)
