"""Which examples are seen together, and in which views."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import Changed, problem
from regraft.backbones.backbone import Backbone
from regraft.strategies._steps import epoch_draws, fetched, num_batches, plain_draws


@pytest.mark.parametrize(
    ("examples", "size", "min_rows", "count"),
    [
        (32, 32, 2, 1),
        (33, 32, 2, 2),
        (3, 2, 1, 2),
        (3, 2, 2, 1),
        (5, 1, 2, 2),
        (5, 1, 1, 5),
        (1, 8, 2, 1),
        (7, 64, 2, 1),
    ],
)
def test_batches_have_at_least_so_many_rows(examples: int, size: int, min_rows: int, count: int) -> None:
    assert num_batches(examples, size, min_rows) == count


def test_every_example_is_seen_once_an_epoch_in_batches_of_like_size(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=29)
    for epoch in range(3):
        draws = epoch_draws(asked, 8, epoch)
        assert sorted(len(draw.examples) for draw in draws) == [7, 7, 7, 8]
        assert sorted(np.concatenate([draw.examples for draw in draws])) == list(range(29))


def test_the_order_differs_by_epoch_and_by_seed(tiny: Backbone) -> None:
    asked = problem(tiny, "output")
    orders = [epoch_draws(asked, 30, epoch)[0].examples.tolist() for epoch in (0, 1)]
    orders.append(epoch_draws(replace(asked, seed=1), 30, 0)[0].examples.tolist())
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_draws(asked, 30, 1)[0].examples.tolist() == orders[1]


def test_of_k_views_each_is_seen_once_in_k_epochs_the_plain_one_among_them(tiny: Backbone) -> None:
    asked = problem(tiny, "output")
    asked = replace(asked, states=problem(tiny, "5a", views=4).states)
    seen: dict[int, list[int]] = {}
    for epoch in range(4):
        for draw in epoch_draws(asked, 8, epoch):
            for example, view in zip(draw.examples, draw.views, strict=True):
                seen.setdefault(int(example), []).append(int(view))
    assert all(sorted(views) == [0, 1, 2, 3] for views in seen.values())
    assert len({views[0] for views in seen.values()}) == 4


def test_fresh_views_are_new_every_epoch_and_never_the_plain_one(tiny: Backbone) -> None:
    asked = problem(tiny, "input", views=0)
    views = [set(np.concatenate([draw.views for draw in epoch_draws(asked, 8, epoch)])) for epoch in range(3)]
    assert views == [{1}, {2}, {3}]


def test_predicting_asks_for_plain_views_in_order() -> None:
    draws = plain_draws(np.arange(100)[::-1])
    assert np.concatenate([draw.examples for draw in draws]).tolist() == list(range(99, -1, -1))
    assert all((draw.views == 0).all() and len(draw.examples) <= 64 for draw in draws)


def test_grids_come_as_float32_in_channels_last_order(tiny: Backbone) -> None:
    asked = problem(tiny, "4a")
    with closing(fetched(asked.states, plain_draws(asked.train), torch.device("cpu"))) as states:
        grid = next(states)["hidden"]
    assert grid.dtype == torch.float32
    assert grid.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(grid.numpy(), asked.states.batch(asked.train, 0 * asked.train)["hidden"])


def test_batches_are_fetched_ahead_and_leaving_early_stops_that(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=30)
    draws = [draw for _ in range(10) for draw in epoch_draws(asked, 3, 0)]
    asked.states.asked.clear()  # type: ignore[attr-defined]
    with closing(fetched(asked.states, draws, torch.device("cpu"))) as states:
        next(states)
    assert 1 <= len(asked.states.asked) <= 4  # type: ignore[attr-defined]


def test_an_error_in_the_thread_reaches_the_caller(tiny: Backbone) -> None:
    asked = problem(tiny, "output")
    broken = Changed(asked.states, (0,), 0.0)
    with pytest.raises(IndexError):
        list(fetched(broken, plain_draws(np.array([1000])), torch.device("cpu")))
