"""BSS against numpy's singular values."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import fitted, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.errors import BadData
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune
from regraft.strategies.regularisers.regulariser import build
from regraft.strategies.tail import Batch, Passed, Tail

FINETUNE = next(way for way in ways() if way.name == "finetune")


@pytest.fixture
def tail(tiny: Backbone) -> Tail:
    return Tail(tiny.fresh_network(), "5a", PooledHead(256, 3), "pooled", batch_norm="frozen")


def term(tiny: Backbone, tail: Tail, features: torch.Tensor, weight: float) -> torch.Tensor:
    held = build("bss", problem(tiny, "5a", examples=9), tail, weight)
    passed = Passed(logits=tail.head(torch.zeros(len(features), 256)), features=features, hidden={}, sides={})
    targets = torch.zeros(len(features), dtype=torch.int64)
    return held(tail, Batch(state={}, passed=passed, targets=targets, loss=torch.nn.functional.cross_entropy))


@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (2, 20)])
def test_it_is_the_smallest_squared_singular_value(shape: tuple[int, int], tiny: Backbone, tail: Tail) -> None:
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    gram = features.astype(np.float64) @ features.T if shape[0] < shape[1] else features.T.astype(np.float64) @ features
    found = term(tiny, tail, torch.from_numpy(features), 0.7)
    assert found.item() == pytest.approx(0.7 * np.linalg.eigvalsh(gram)[0], rel=1e-4)


def test_its_gradient_is_that_of_finite_differences(tiny: Backbone, tail: Tail) -> None:
    values = np.random.default_rng(1).normal(size=(4, 6))
    features = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    term(tiny, tail, features, 1.0).backward()

    def smallest(rows: np.ndarray) -> float:
        return float(np.linalg.eigvalsh(rows @ rows.T)[0])

    for place in ((0, 0), (2, 5), (3, 1)):
        nudge = np.zeros_like(values)
        nudge[place] = 1e-5
        slope = (smallest(values + nudge) - smallest(values - nudge)) / 2e-5
        assert float(features.grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_rows_that_are_all_alike_have_a_finite_gradient(tiny: Backbone, tail: Tail) -> None:
    features = torch.ones(5, 8, requires_grad=True)
    term(tiny, tail, features, 1.0).backward()
    assert torch.isfinite(features.grad).all()


def test_one_example_has_no_spectrum_and_batches_hold_two_or_more(tiny: Backbone) -> None:
    asked, options = (
        problem(tiny, "5a", examples=5),
        finetune.Options(epochs=1, min_steps=0, batch=1, regulariser="bss"),
    )
    with pytest.raises(BadData, match=r"rows of a batch.* 1 training example.*\n.*add examples"):
        fitted(FINETUNE, replace(asked, train=asked.train[:1]), options)
    asked.states.asked.clear()
    fitted(FINETUNE, asked, options)
    assert [len(examples) for examples, _ in asked.states.asked] == [3, 2]
