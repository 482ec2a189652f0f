"""Optimisers: SGD against the textbook's rule, and what resuming needs of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from problems import drained, fitted, in_folder, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.strategies import finetune
from regraft.strategies._steps import MOMENTUM, optimiser_of
from regraft.values import Progress

WAY = next(way for way in ways() if way.name == "finetune")
SGD = {"optimiser": "sgd", "lr": 0.05, "weight_decay": 1e-4, "batch": 9, "min_steps": 0}


def test_sgd_steps_as_nesterovs_rule_with_decay_in_the_gradient() -> None:
    """By hand: g = 2w + d w, v = m v + g, w = w - lr (g + m v)."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    rate, decay = 0.1, 0.01
    optimiser = optimiser_of("sgd", [{"params": [weight], "lr": rate, "weight_decay": decay}], torch.device("cpu"))
    expected, speed = weight.detach().double().numpy().copy(), np.zeros(3)
    for _ in range(4):
        optimiser.zero_grad()
        weight.square().sum().backward()
        optimiser.step()
        gradient = 2 * expected + decay * expected
        speed = MOMENTUM * speed + gradient
        expected -= rate * (gradient + MOMENTUM * speed)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)


@pytest.mark.usefixtures("every_epoch")
def test_a_run_of_sgd_goes_on_as_it_would_have_gone(tiny: Backbone, tmp_path: Path) -> None:
    asked, options = problem(tiny, "5a", examples=27, val=6), finetune.Options(**SGD, epochs=4)
    whole = fitted(WAY, asked, options)
    kept = in_folder(asked, tmp_path)
    events = WAY.module.fit(kept, options)
    seen = 0
    for event in events:
        seen += isinstance(event, Progress) and bool(event.facts)
        if seen == 2:
            break
    events.close()
    again, model = drained(WAY.module.fit(kept, options))
    assert "Resumed after epoch" in str(again[0])
    assert losses(model) == losses(whole)
    assert same(model, whole)


def test_optimisers_learn_and_differ(tiny: Backbone) -> None:
    asked, options = problem(tiny, "5a", examples=27), finetune.Options(**SGD, epochs=4)
    models = [fitted(WAY, asked, one) for one in (options, replace(options, optimiser="adamw", lr=1e-3))]
    for model in models:
        assert model.curve[-1]["loss"] < model.curve[0]["loss"]
    assert not same(*models)
