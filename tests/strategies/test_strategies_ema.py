"""The EMA of the weights: against the recursion written out, in validation, in what is kept, across a stop."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from problems import fitted, in_folder, log_loss, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.strategies import _steps, finetune
from regraft.strategies._steps import add_step, decay_at, standing_in
from regraft.strategies.tail import STATISTICS, Tail
from regraft.values import Progress

WAY = next(way for way in ways() if way.name == "finetune-scratch")
SCRATCH = finetune.PRESETS["scratch"].options | {"epochs": 3, "min_steps": 0, "batch": 9}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """The tail's own tensors after every step of the fits that follow."""
    seen: list[dict[str, np.ndarray]] = []

    def watch(ema: dict[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], step: int, decay: float) -> None:
        seen.append({name: tensor.detach().double().numpy().copy() for name, tensor in tensors.items()})
        add_step(ema, tensors, step, decay)

    monkeypatch.setattr(_steps, "add_step", watch)
    return seen


def averaged(steps: list[dict[str, np.ndarray]], decay: float) -> dict[str, np.ndarray]:
    """Every step's tensors, each weighed by its share of the end: the recursion multiplied out, in float64."""
    decays = [0.0] + [min(decay, (1 + t) / (10 + t)) for t in range(1, len(steps))]
    shares = [(1 - d) * np.prod(decays[t + 1 :]) for t, d in enumerate(decays)]
    assert sum(shares) == pytest.approx(1.0)
    return {name: sum(w * step[name] for w, step in zip(shares, steps, strict=True)) for name in steps[0]}


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_what_is_kept_is_the_weighted_mean_of_all_steps(
    decay: float, tiny: Backbone, steps: list[dict[str, np.ndarray]]
) -> None:
    options = finetune.Options(**SCRATCH, ema=decay)
    model = fitted(WAY, problem(tiny, "4e", examples=27), options)
    assert len(steps) == 9
    for name, expected in averaged(steps, decay).items():
        np.testing.assert_allclose(model.tensors[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    moved = [name for name in model.tensors if name.endswith(STATISTICS)]
    assert moved
    assert not any(np.array_equal(model.tensors[name], steps[-1][name]) for name in moved)


def test_the_ema_is_validated_and_training_goes_on_from_the_weights_themselves(
    tiny: Backbone, steps: list[dict[str, np.ndarray]]
) -> None:
    asked = problem(tiny, "5a", examples=33, val=6)
    plain = fitted(WAY, asked, finetune.Options(**SCRATCH))
    model = fitted(WAY, asked, finetune.Options(**SCRATCH, ema=0.9))
    assert [record["loss"] for record in model.curve] == [record["loss"] for record in plain.curve]
    kept = averaged(steps[: 3 * model.facts["best_epoch"]], 0.9)
    for name, expected in kept.items():
        np.testing.assert_allclose(model.tensors[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    found = log_loss(model, asked, asked.val)
    assert found == pytest.approx(model.curve[model.facts["best_epoch"] - 1]["val_loss"], rel=1e-5)
    assert found != plain.curve[-1]["val_loss"]


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("val", [0, 6])
def test_stopped_after_an_epoch_it_goes_on_to_the_same_ema(val: int, tiny: Backbone, tmp_path: Path) -> None:
    asked = problem(tiny, "5a", examples=24, val=val)
    options = finetune.Options(**SCRATCH, ema=0.9)
    whole = fitted(WAY, asked, options)
    kept = in_folder(asked, tmp_path)
    events = WAY.module.fit(kept, options)
    next(event for event in events if isinstance(event, Progress) and event.facts)
    events.close()
    resumed = fitted(WAY, kept, options)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)


def test_the_decay_rises_to_what_was_asked_for() -> None:
    assert [decay_at(step, 0.5) for step in (0, 1, 8, 9, 1000)] == pytest.approx([0.1, 2 / 11, 0.5, 0.5, 0.5])
    assert decay_at(990, 0.999) == pytest.approx(0.991)


def test_the_tail_has_its_own_tensors_again_even_after_an_error(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=6)
    tail = Tail(tiny.fresh_network(), asked.cut, asked.task.head({"pooled": 256}, 0.0), "pooled", batch_norm="frozen")
    ema = {"head/bias": torch.ones(3)}
    with pytest.raises(ZeroDivisionError), standing_in(ema, tail):
        assert torch.equal(tail.tensors()["head/bias"], torch.ones(3))
        raise ZeroDivisionError
    assert torch.equal(tail.tensors()["head/bias"], torch.zeros(3))
