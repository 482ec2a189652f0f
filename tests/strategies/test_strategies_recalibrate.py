"""Batch norm's statistics, measured anew."""

import numpy as np
import pytest
import torch

from problems import problem
from regraft.backbones.backbone import Backbone
from regraft.errors import BadData
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune
from regraft.strategies._steps import recalibrate
from regraft.strategies.tail import Tail


def tail_at(backbone: Backbone, cut: str) -> Tail:
    return Tail(backbone.fresh_network(), cut, PooledHead(256, 3), "pooled", batch_norm="recalibrate")


def test_up_to_a_batch_the_statistics_are_those_of_a_pass_in_training_mode(tiny: Backbone) -> None:
    asked = problem(tiny, "4b", views=2, examples=48)
    tail, reference = tail_at(tiny, "4b"), tail_at(tiny, "4b")
    recalibrate(tail, asked)
    reference.batch_norm = "train"
    reference.train()
    for norm in reference.norms():
        norm.momentum = 1.0
    state = asked.states.batch(asked.train, np.zeros_like(asked.train))
    with torch.no_grad():
        reference({name: torch.from_numpy(array) for name, array in state.items()})
    for found, expected in zip(tail.norms(), reference.norms(), strict=True):
        torch.testing.assert_close(found.running_mean, expected.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=1e-4, atol=1e-5)


def test_over_several_batches_the_lowest_norm_has_the_exact_mean_and_the_batches_mean_variance(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=150)
    tail = tail_at(tiny, "5a")
    recalibrate(tail, asked)
    entering: list[torch.Tensor] = []
    tail.norms()[0].register_forward_pre_hook(lambda norm, given: entering.append(given[0]))
    state = asked.states.batch(asked.train, np.zeros_like(asked.train))
    with torch.no_grad():
        tail({name: torch.from_numpy(array) for name, array in state.items()})
    seen = entering[0].double()
    torch.testing.assert_close(tail.norms()[0].running_mean.double(), seen.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tail.norms()[0].running_var.double(), seen.var((0, 2, 3)), rtol=0.2, atol=1e-6)


def test_the_norms_are_left_as_they_were_found_but_for_their_statistics(tiny: Backbone) -> None:
    tail = tail_at(tiny, "5a")
    momenta = [norm.momentum for norm in tail.norms()]
    parameters = [parameter.detach().clone() for parameter in tail.parameters()]
    recalibrate(tail, problem(tiny, "5a", examples=9))
    assert [norm.momentum for norm in tail.norms()] == momenta
    assert not any(norm.training or norm._forward_pre_hooks for norm in tail.norms())
    assert all(torch.equal(one, other) for one, other in zip(tail.parameters(), parameters, strict=True))


def test_one_example_is_too_few_and_said_so(tiny: Backbone) -> None:
    for options in (finetune.Options(batch_norm="recalibrate"), finetune.Options(side_heads=True)):
        with pytest.raises(BadData, match="at least 2 are required"):
            list(finetune.fit(problem(tiny, "4a", examples=1), options))
