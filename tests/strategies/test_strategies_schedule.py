"""How the learning rate runs."""

import math

import pytest
import torch

from regraft.strategies._steps import rate


@pytest.mark.parametrize(("steps", "share"), [(100, 0.1), (7, 0.3), (50, 0.0)])
def test_the_rate_rises_evenly_and_falls_along_torchs_cosine(steps: int, share: float) -> None:
    warmup = round(steps * share)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps - warmup)
    expected = [(step + 1) / warmup for step in range(warmup)]
    for _ in range(steps - warmup):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    assert [rate(step, steps, share) for step in range(steps)] == pytest.approx(expected, rel=1e-9)


def test_every_step_has_a_rate_of_more_than_zero_and_at_most_one() -> None:
    for steps in (1, 2, 3, 10):
        for share in (0.0, 0.1, 0.5, 1.0):
            assert all(0 < rate(step, steps, share) <= 1 for step in range(steps))


def test_the_middle_of_the_fall_is_half_the_peak() -> None:
    assert rate(60, 110, 10 / 110) == pytest.approx(0.5)
    assert rate(9, 110, 10 / 110) == rate(10, 110, 10 / 110) == 1.0
    assert rate(109, 110, 10 / 110) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
