"""Every strategy on every kind of task: it learns, and the head that comes out is the task's."""

import numpy as np
import pytest

from kinds import LABELS
from problems import Way, fitted, fresh_strategies
from regraft.backbones.backbone import Backbone
from regraft.contracts.metric import main_metric


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("strategy", fresh_strategies())
def test_it_learns(strategy: str, kind: str, tiny: Backbone) -> None:
    way = Way(strategy, None, strategy)
    asked = way.problem(tiny, examples=36, val=9, kind=kind)
    model = fitted(way, asked, way.options(epochs=5, min_steps=0, batch=9, lr=3e-3))
    shape = (asked.task.num_outputs, tiny.card.width)
    assert model.tensors["head/weight"].shape == shape
    assert model.tensors["head/bias"].shape == shape[:1]
    main, targets = main_metric(kind), asked.targets[asked.train]
    logits = model.logits(asked, asked.train)
    learned = main.compute(targets, asked.task.outputs(logits))
    untold = main.compute(targets, asked.task.outputs(np.zeros_like(logits)))
    assert learned > untold if main.higher_is_better else learned < 0.8 * untold
    if model.curve:
        assert all(np.isfinite(record["val_loss"]) for record in model.curve)


@pytest.mark.parametrize("kind", LABELS)
def test_the_same_seed_gives_the_same_weights(kind: str, tiny: Backbone) -> None:
    way = Way("finetune", None, "finetune")
    options = way.options(epochs=1, min_steps=0, batch=9)
    one, other = (fitted(way, way.problem(tiny, examples=18, kind=kind), options) for _ in range(2))
    for name, array in one.tensors.items():
        np.testing.assert_array_equal(array, other.tensors[name])
