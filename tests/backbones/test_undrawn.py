"""Networks that are built without drawing first weights."""

import torch
from torch import nn

from regraft.nn.initialise import Undrawn, Unfilled


def test_nothing_is_drawn_and_the_random_state_stays() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with Undrawn():
        for draw in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.xavier_normal_):
            draw(torch.empty(3, 4))
        torch.randn(3)
        nn.Linear(3, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_draw_within_bounds_ends_whatever_lay_in_memory() -> None:
    for low, high in ((-2.0, 2.0), (0.5, 0.6), (-0.001, 0.001)):
        with Undrawn():
            drawn = nn.init.trunc_normal_(torch.full((64, 64), 1e9), std=0.5, a=low, b=high)
        assert bool(((drawn >= low) & (drawn <= high)).all())


def test_constants_are_set_as_ever() -> None:
    with Undrawn():
        norm = nn.BatchNorm2d(3)
        nn.init.constant_(norm.bias, 2.0)
    assert norm.weight.tolist() == [1.0] * 3
    assert norm.bias.tolist() == [2.0] * 3


def test_parameters_wait_unfilled_and_constants_are_there() -> None:
    with Unfilled():
        norm = nn.BatchNorm2d(3)
        layer = nn.Linear(3, 4)
        nn.init.trunc_normal_(layer.weight)
        constant = torch.tensor([1.0, 2.0])
    assert layer.weight.is_meta
    assert layer.weight.shape == (4, 3)
    assert norm.running_var.tolist() == [1.0] * 3
    assert constant.tolist() == [1.0, 2.0]
    assert not torch.empty(1).is_meta
