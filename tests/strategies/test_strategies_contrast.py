"""Contrast: its loss against the formula, its batches, what it leaves behind, and where it cannot be."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import fitted, in_folder, log_loss, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.errors import BadData, BadRecipe, BadRequest
from regraft.strategies import _loop, finetune
from regraft.strategies._batches import epoch_draws
from regraft.strategies._contrast import TEMPERATURE, Contrast

WAY = next(way for way in ways() if way.name == "finetune-contrast")
QUICK = finetune.Options(epochs=3, min_steps=0, batch=12, contrast=0.5)


def written_out(compared: np.ndarray) -> float:
    """The mean over all rows i of -log( exp(z_i z_j / t) / sum over k other than i of exp(z_i z_k / t) ), z_j being the
    other view of z_i: equation 1 of Chen et al. 2020."""
    z = compared / np.linalg.norm(compared, axis=1, keepdims=True)
    half, terms = len(z) // 2, []
    for i in range(len(z)):
        others = [np.exp(float(z[i] @ z[k]) / TEMPERATURE) for k in range(len(z)) if k != i]
        terms.append(-np.log(np.exp(float(z[i] @ z[(i + half) % len(z)]) / TEMPERATURE) / sum(others)))
    return float(np.mean(terms))


def test_the_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    contrast, features = Contrast(16, weight=0.7).double(), torch.randn(10, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = written_out(contrast.layers(features).numpy())
        assert float(contrast(features)) == pytest.approx(0.7 * expected, rel=1e-5)


def test_views_that_agree_cost_less_than_views_that_do_not() -> None:
    torch.manual_seed(0)
    contrast, features = Contrast(16, weight=1.0), torch.randn(8, 16)
    with torch.no_grad():
        assert contrast(torch.cat([features, features])) < contrast(torch.cat([features, features.flip(0)])) - 1


@pytest.mark.parametrize("views", [0, 2, 3])
def test_every_batch_holds_each_of_its_examples_in_two_views(tiny: Backbone, views: int) -> None:
    asked, seen = problem(tiny, "5a", examples=25, views=views), []
    for epoch in range(3):
        draws = epoch_draws(asked, 8, epoch, twins=True)
        assert all(len(draw.examples) <= 8 for draw in draws)
        for examples, numbers in draws:
            half = len(examples) // 2
            assert examples[:half].tolist() == examples[half:].tolist()
            assert (numbers[:half] != numbers[half:]).all()
        assert sorted(np.concatenate([draw.examples for draw in draws]).tolist()) == sorted([*range(25)] * 2)
        seen += np.concatenate([draw.views for draw in draws]).tolist()
    assert set(seen) == set(range(views)) if views else len(set(seen)) == 6


def test_it_shapes_the_features_and_never_enters_the_model(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", views=3)
    plain, contrasted = fitted(WAY, asked, replace(QUICK, contrast=0.0)), fitted(WAY, asked, QUICK)
    assert plain.tensors.keys() == contrasted.tensors.keys()
    assert not np.array_equal(plain.tensors["5b/body.branch1.conv.weight"],
                              contrasted.tensors["5b/body.branch1.conv.weight"])  # fmt: skip


def test_a_model_trained_with_it_answers_and_its_two_views_agree(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[float] = []
    build = Contrast.forward

    def watch(self: Contrast, features: torch.Tensor) -> torch.Tensor:
        loss = build(self, features)
        compared.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(Contrast, "forward", watch)
    asked = problem(tiny, "5a", views=3)
    model = fitted(WAY, asked, replace(QUICK, epochs=20, lr=3e-3, batch_norm="train"))
    assert np.mean(compared[-5:]) < np.mean(compared[:5]) - 0.1
    assert log_loss(model, asked, asked.train) < 0.5


def test_a_run_stopped_in_the_middle_goes_on_as_if_it_had_not(
    tiny: Backbone, tmp_path: object, every_epoch: None
) -> None:
    asked = problem(tiny, "5a", views=2)
    kept, whole = in_folder(asked, tmp_path), fitted(WAY, asked, QUICK)
    events = WAY.module.fit(kept, QUICK)
    while not (tmp_path / "checkpoint.safetensors").exists():  # type: ignore[operator]
        next(events)
    events.close()
    resumed = fitted(WAY, kept, QUICK)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)


def test_one_kept_view_is_refused(tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match="one view of each example is kept"):
        fitted(WAY, problem(tiny, "5a", views=1), QUICK)


def test_one_training_example_is_refused(tiny: Backbone) -> None:
    with pytest.raises(BadData, match="1 training example"):
        fitted(WAY, problem(tiny, "5a", views=2, examples=1), QUICK)


@pytest.mark.parametrize("mixed", ["mixup", "cutmix"])
def test_mixed_examples_are_refused(mixed: str) -> None:
    with pytest.raises(BadRecipe, match="no other view"):
        finetune.check(replace(QUICK, **{mixed: 0.2}))


def test_without_it_nothing_is_drawn_twice(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_twins = []
    draws = _loop.epoch_draws

    def watch(*given: object, twins: bool) -> object:
        asked_twins.append(twins)
        return draws(*given, twins=twins)  # type: ignore[arg-type]

    monkeypatch.setattr(_loop, "epoch_draws", watch)
    fitted(WAY, problem(tiny, "5a", views=2), replace(QUICK, contrast=0.0))
    assert asked_twins
    assert not any(asked_twins)
