"""What every task on the shelf promises."""

import json

import numpy as np
import pytest
import torch

from kinds import LABELS, labels_of, names_of, perfect, posed
from regraft.contracts.metric import main_metric
from regraft.contracts.task import TASKS
from regraft.errors import BadData, BadRecipe
from regraft.tasks.linear import cross_validate, solve

KINDS = pytest.mark.parametrize("kind", LABELS)
NUMBERS = np.arange(60) % 3


def features(seed: int = 0) -> np.ndarray:
    """Rows that tell the three class numbers apart, with noise."""
    random = np.random.default_rng(seed)
    return (np.eye(3)[NUMBERS] @ random.normal(size=(3, 8)) + random.normal(0, 0.2, (60, 8))).astype(np.float32)


@KINDS
def test_labels_survive_encoding_and_decoding(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    said = task.decode(perfect(task, targets))
    np.testing.assert_array_equal(task.encode(said), targets)
    assert task.kind == kind


@KINDS
@pytest.mark.parametrize("label", ["none of these", "nan", "1;2;3;4;5"])
def test_a_label_of_another_kind_is_refused_and_named(kind: str, label: str) -> None:
    task, _ = posed(kind, NUMBERS)
    with pytest.raises(BadData, match=label.split(";")[0]):
        task.encode([*labels_of(kind, NUMBERS), label])


@KINDS
def test_the_facts_make_the_same_task_again(kind: str) -> None:
    task, _ = posed(kind, NUMBERS)
    facts = json.loads(json.dumps({"kind": kind, "classes": list(task.classes), **task.facts}))
    assert TASKS.get(kind)(facts["classes"], facts) == task


@KINDS
def test_the_objective_falls_along_its_gradient(kind: str) -> None:
    task, targets = posed(kind, NUMBERS[:12])
    goals = torch.from_numpy(task.encoded(targets, {}))
    loss = task.objective(targets, balanced=False, smoothing=0.0)
    random = np.random.default_rng(1)
    logits = torch.from_numpy(random.normal(size=(12, task.num_outputs)).astype(np.float32)).requires_grad_()
    value = loss(logits, goals)
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, logits)
    step = 1e-2 * gradient / gradient.norm()
    rise = (loss(logits + step, goals) - loss(logits - step, goals)).item()
    assert rise == pytest.approx(2e-2 * gradient.norm().item(), rel=1e-2)


@KINDS
def test_a_fresh_head_has_a_weight_and_a_bias_per_output(kind: str) -> None:
    task, _ = posed(kind, NUMBERS)
    shapes = {name: tuple(tensor.shape) for name, tensor in task.head({"pooled": 5}, 0.0).named_parameters()}
    assert shapes == {"weight": (task.num_outputs, 5), "bias": (task.num_outputs,)}


@KINDS
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_outputs_are_probabilities_or_finite_numbers(kind: str, temperature: float) -> None:
    task, _ = posed(kind, NUMBERS)
    logits = np.random.default_rng(2).normal(0, 30, (40, task.num_outputs)).astype(np.float32)
    outputs = task.outputs(logits, temperature)
    assert outputs.shape == (40, len(task.classes))
    assert np.isfinite(outputs).all()
    if task.answers == "probabilities":
        assert outputs.min() >= 0
        assert outputs.max() <= 1
    if task.exclusive:
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-12)


@KINDS
def test_stated_probabilities_are_those_put_out(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    logits = np.random.default_rng(3).normal(0, 2, (60, task.num_outputs)).astype(np.float32)
    stated = task.stated(logits, targets)
    if task.answers != "probabilities":
        assert stated is None
        return
    choices, true, of_example = stated
    assert len(choices) == len(true) == len(of_example)
    assert set(of_example.tolist()) == set(range(60))
    assert ((true >= 0) & (true < choices.shape[1])).all()
    if len(choices) == 60 * len(task.classes):
        chance = torch.softmax(torch.from_numpy(choices), dim=1)[:, 1].numpy().reshape(60, -1)
        np.testing.assert_allclose(chance, task.outputs(logits), atol=1e-6)


@KINDS
def test_folds_keep_groups_together_and_are_of_like_size(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    groups = np.arange(60) // 4
    dealt = task.deal(targets, groups, 5, seed=0)
    assert dealt.num_folds == 5
    sizes = np.bincount(dealt.of_example)
    assert sizes.min() >= 8
    for group in range(15):
        assert len(set(dealt.of_example[groups == group])) == 1


@KINDS
@pytest.mark.parametrize("per_example", [1, 2])
def test_a_solved_head_learns_and_judges_itself_on_examples_it_did_not_see(kind: str, per_example: int) -> None:
    task, targets = posed(kind, NUMBERS)
    rows = np.repeat(features(), per_example, axis=0)
    dealt = task.deal(targets, None, 5, seed=0)
    found = solve(task.solved_loss(targets), rows, num_views=per_example, fold_of=dealt.of_example)
    assert found.weight.dtype == np.float32
    main = main_metric(kind)
    untold = main.compute(targets, task.outputs(np.zeros((60, task.num_outputs), dtype=np.float32)))
    assert found.out_of_fold is not None
    for logits in (features() @ found.weight.T + found.bias, found.out_of_fold):
        score = main.compute(targets, task.outputs(logits))
        assert score > untold if main.higher_is_better else score < 0.5 * untold
    assert json.loads(json.dumps(found.facts)) == found.facts


@KINDS
def test_without_folds_a_head_is_solved_as_well(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    found = solve(task.solved_loss(targets), features(), fold_of=None)
    assert found.out_of_fold is None
    assert found.facts["c"] == 1 / 8


@KINDS
def test_cross_validation_judges_every_example_once_a_repeat(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    dealt = [task.deal(targets, None, 4, seed).of_example for seed in range(2)]
    loss = task.solved_loss(targets)
    found = list(cross_validate(loss, features(), fold_of_repeats=dealt, c=0.1, max_seconds=60.0))
    assert [(one.repeat, one.fold) for one in found] == [(r, f) for r in range(2) for f in range(4)]
    for repeat in range(2):
        seen = np.concatenate([one.examples for one in found if one.repeat == repeat])
        assert sorted(seen.tolist()) == list(range(60))
    assert all(one.logits.shape == (len(one.examples), task.num_outputs) for one in found)


@KINDS
def test_balance_and_smoothing_are_taken_or_refused_by_name(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    if kind == "classification":
        task.objective(targets, balanced=True, smoothing=0.1)
        return
    for settings, named in (({"balanced": True}, "balanced"), ({"smoothing": 0.1}, "smoothing")):
        with pytest.raises(BadRecipe, match=f"options.{named}.*{kind}"):
            task.objective(targets, **{"balanced": False, "smoothing": 0.0} | settings)
    with pytest.raises(BadRecipe, match=r"options\.balanced"):
        task.solved_loss(targets, balanced=True)


@KINDS
def test_scores_to_watch_are_finite_and_named(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    scores = task.scores(np.zeros((60, task.num_outputs), dtype=np.float32), targets)
    assert scores
    assert all(np.isfinite(value) for value in scores.values())


@KINDS
def test_rescaling_lowers_the_loss_or_leaves_it(kind: str) -> None:
    task, targets = posed(kind, NUMBERS)
    logits = np.random.default_rng(4).normal(0, 8, (60, task.num_outputs)).astype(np.float32)
    loss = task.objective(targets, balanced=False, smoothing=0.0)
    goals = torch.from_numpy(task.encoded(targets, {}))
    after = loss(torch.from_numpy(task.rescaled(logits, targets)), goals)
    assert after <= loss(torch.from_numpy(logits), goals) + 1e-6


@KINDS
def test_names_are_kept_in_order(kind: str) -> None:
    assert posed(kind, NUMBERS)[0].classes == names_of(kind)
