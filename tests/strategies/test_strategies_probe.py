"""The probe: the head at its optimum on stored features."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from problems import MemoryStates, drained, painted, problem
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Fitted, Needs, Problem
from regraft.contracts.task import Reads
from regraft.errors import BadRecipe, BadRequest
from regraft.strategies import probe
from regraft.tasks.classification import Classification
from regraft.tasks.rows import SPREAD_FLOOR


def features(asked: Problem, positions: np.ndarray) -> np.ndarray:
    return asked.top.batch(positions, np.zeros_like(positions))["pooled"]


def solved(asked: Problem, **options: float) -> Fitted:
    return drained(probe.fit(asked, probe.Options(**options)))[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("balanced", [False, True])
def test_at_a_given_penalty_it_predicts_what_scikit_learn_predicts(tiny: Backbone, balanced: bool) -> None:
    asked = problem(tiny, "output", examples=60)
    asked = replace(asked, train=np.flatnonzero(np.arange(60) % 6 != 5))
    model = solved(asked, c=0.01, balanced=balanced)
    x, y = features(asked, asked.train), asked.targets[asked.train]
    weights = (len(y) / (3 * np.bincount(y)))[y] if balanced else np.ones(len(y))
    scaler = StandardScaler().fit(x, sample_weight=weights)
    scaler.scale_ = np.maximum(scaler.scale_, SPREAD_FLOOR * np.median(scaler.scale_[x.std(axis=0) > 0]))
    reference = LogisticRegression(C=0.01, tol=1e-8, max_iter=5000)
    reference.fit(scaler.transform(x).astype(np.float64), y, sample_weight=weights)
    probabilities = asked.task.outputs(model.logits(asked, asked.train))
    np.testing.assert_allclose(probabilities, reference.predict_proba(scaler.transform(x)), atol=1e-4)


def test_the_penalty_is_chosen_among_those_tried_and_out_of_fold_logits_come_along(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=45)
    model = solved(asked)
    tried = {one["c"]: one["log_loss"] for one in model.facts["tried"]}
    assert model.facts["c"] == min(tried, key=lambda c: tried[c])
    assert len(tried) > 3
    assert model.out_of_fold is not None
    assert model.out_of_fold.shape == (45, 3)
    assert (model.facts["folds"], model.facts["examples"], model.facts["views"]) == (5, 45, 1)
    assert (model.out_of_fold.argmax(axis=1) == asked.targets[asked.train]).mean() > 0.8


def test_features_too_many_for_memory_are_read_in_blocks_to_the_same_head(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = problem(tiny, "output", examples=60)
    held = solved(asked, c=0.01)
    monkeypatch.setattr(probe, "STREAM_ABOVE", 0)
    np.testing.assert_allclose(solved(asked, c=0.01).tensors["head/weight"], held.tensors["head/weight"], atol=1e-6)
    assert probe.features_of(asked, asked.train)[2:5].shape == (3, tiny.card.width)


def test_all_views_are_learned_from_and_plain_ones_asked(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=18)
    three = MemoryStates(tiny, painted(asked.targets, 32), "output", 3)
    model = solved(replace(asked, top=three, states=three), c=0.01)
    assert model.facts["views"] == 3
    seen = np.concatenate([views for _, views in three.asked])
    assert np.bincount(seen).tolist() == [18, 18, 18]
    three.asked.clear()
    model.logits(replace(asked, top=three), asked.train)
    assert set(np.concatenate([views for _, views in three.asked])) == {0}
    assert not np.array_equal(model.tensors["head/weight"], solved(asked, c=0.01).tensors["head/weight"])


def test_examples_of_one_group_are_solved_without_folds(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=18)
    model = solved(replace(asked, groups=np.zeros(18, dtype=np.int64)))
    assert model.out_of_fold is None
    assert model.facts["folds"] == 0
    assert "one group" in model.facts["note"]
    assert model.facts["c"] == pytest.approx(1 / 256)


def test_a_group_never_straddles_a_fold(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=36)
    pixels = painted(asked.targets, 32)
    pixels[1::2] = pixels[::2]
    top = MemoryStates(tiny, pixels, "output", 1)
    asked = replace(asked, top=top, states=top, groups=np.arange(36) // 2)
    held = solved(asked).out_of_fold
    assert held is not None
    np.testing.assert_allclose(held[1::2], held[::2], rtol=1e-4, atol=1e-4)


def test_a_class_with_a_single_example_is_trained_on_and_tested_in_no_fold(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=21)
    asked = replace(asked, train=np.flatnonzero((asked.targets != 2) | (np.arange(21) == 2)))
    model = solved(asked)
    alone = asked.targets[asked.train] == 2
    assert alone.sum() == 1
    np.testing.assert_array_equal(np.isnan(model.out_of_fold).any(axis=1), alone)
    assert np.isfinite(model.logits(asked, asked.train)).all()


def test_a_view_that_is_no_vector_is_refused(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=9)
    grid = MemoryStates(tiny, painted(asked.targets, 64), "output", 1, view="grid")

    class OnGrid(Classification):
        reads = Reads("grid")

    task = OnGrid(asked.task.classes)
    with pytest.raises(BadRequest, match=r"needs vectors.*'grid'.*\n.*finetune"):
        solved(replace(asked, top=grid, states=grid, task=task))


@pytest.mark.parametrize(("field", "value"), [("folds", 1), ("c", -1.0), ("c", float("inf"))])
def test_a_value_out_of_range_is_named(tiny: Backbone, field: str, value: float) -> None:
    with pytest.raises(BadRecipe, match=rf"options\.{field} is .*must be"):
        solved(problem(tiny, "output", examples=9), **{field: value})


def test_a_start_is_solved_when_it_is_first_asked_for_and_again_for_a_fold(tiny: Backbone) -> None:
    asked = probe.with_start(problem(tiny, "output", examples=36), Needs(top=True, start=True))
    asked.top.asked.clear()  # type: ignore[attr-defined]
    part = asked.part("fold", train=asked.train[6:], val=asked.val)
    assert not asked.top.asked  # type: ignore[attr-defined]
    assert asked.start is asked.start
    assert np.array_equal(asked.start.tensors["head/weight"], solved(asked).tensors["head/weight"])
    asked.top.asked.clear()  # type: ignore[attr-defined]
    assert np.array_equal(part.start.tensors["head/weight"], solved(part).tensors["head/weight"])
    seen = np.concatenate([examples for examples, _ in asked.top.asked])  # type: ignore[attr-defined]
    assert not set(seen.tolist()) & set(range(6))


@pytest.mark.parametrize("balanced", [False, True])
def test_a_start_weighs_the_classes_as_the_strategy_does(tiny: Backbone, balanced: bool) -> None:
    asked = problem(tiny, "output", examples=36)
    asked = replace(asked, targets=np.minimum(np.arange(36) % 5, 2))
    start = probe.with_start(asked, Needs(start=True, balanced=balanced)).start
    assert np.array_equal(start.tensors["head/weight"], solved(asked, balanced=balanced).tensors["head/weight"])
