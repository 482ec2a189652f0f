"""Co-Tuning: its term against numpy, its relationship against scikit-learn, and where it cannot work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax as scipy_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from problems import batch_of, drained, fitted, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.bundle_format import write_tensors
from regraft.contracts.strategy import Problem
from regraft.errors import BadRequest
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune
from regraft.strategies.regularisers.co_tuning import STRENGTHS, direct, regression, reverse, turned_round
from regraft.strategies.regularisers.regulariser import build
from regraft.strategies.tail import Tail
from regraft.tasks.classification import Classification
from regraft.values import Notice

FINETUNE = next(way for way in ways() if way.name == "finetune")
QUICK = {"epochs": 1, "min_steps": 0, "batch": 9, "regulariser": "co_tuning"}


def said_by_the_source(backbone: Backbone, asked: Problem) -> np.ndarray:
    """Probabilities of the source classes, by the whole network on the plain inputs."""
    whole = problem(backbone, "input", examples=len(asked.targets))
    pixels = whole.states.batch(asked.train, np.zeros_like(asked.train))
    with torch.no_grad():
        logits = backbone.network({name: torch.from_numpy(array) for name, array in pixels.items()})
    return torch.softmax(logits.double(), dim=1).numpy()


def looks_like(num_classes: int, num_source: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in which target class t leans to source class t, and the targets."""
    random = np.random.default_rng(0)
    targets = np.arange(examples) % num_classes
    logits = random.normal(size=(examples, num_source))
    logits[np.arange(examples), targets] += 3.0
    said = np.exp(logits)
    return said / said.sum(axis=1, keepdims=True), targets


def test_its_term_is_the_cross_entropy_of_the_source_classifier_with_the_relationship(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=12)
    tail = Tail(tiny.fresh_network(), "5a", PooledHead(256, 3), "pooled", batch_norm="frozen")
    held = build("co_tuning", asked, tail, 0.4)
    state = {name: torch.from_numpy(array) for name, array in asked.states.batch(asked.train, 0 * asked.train).items()}
    found = held(tail, batch_of(tail.eval(), state, asked))

    said, given = said_by_the_source(tiny, asked), held.relationship.numpy().astype(np.float64)
    expected = 0.4 * np.mean([-np.sum(given[t] * np.log(said[i])) for i, t in enumerate(asked.targets)])
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_relationship_is_learnt_from_what_the_source_classifier_says_of_the_training_examples(
    tiny: Backbone,
) -> None:
    asked = problem(tiny, "5a", examples=12)
    one_group = replace(asked, groups=np.zeros_like(asked.groups))
    tail = Tail(tiny.fresh_network(), "5a", PooledHead(256, 3), "pooled", batch_norm="frozen")
    said = said_by_the_source(tiny, asked)
    expected = np.stack([np.mean([row for row, t in zip(said, asked.targets, strict=True) if t == c], axis=0)
                         for c in range(3)])  # fmt: skip
    held = build("co_tuning", one_group, tail, 1.0)
    np.testing.assert_allclose(held.relationship.numpy(), expected, rtol=1e-4)
    assert held.facts["relationship"] == "direct"
    assert build("co_tuning", asked, tail, 1.0).facts["relationship"] == "reverse"


def test_without_folds_the_direct_relationship_is_told_of(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=9)
    asked = replace(asked, groups=np.zeros_like(asked.groups))
    events, _ = drained(FINETUNE.module.fit(asked, finetune.Options(**QUICK)))
    assert [event.topic for event in events if isinstance(event, Notice)] == ["regulariser"]


@pytest.mark.parametrize("c", [0.1, 10.0, 100.0, 1e4])
def test_the_regression_is_scikit_learns(c: float) -> None:
    said, targets = looks_like(3, 8, 30)
    theirs = LogisticRegression(C=c, fit_intercept=False, tol=1e-9, max_iter=20_000).fit(said, targets).coef_
    found = regression(said, targets, 3, c, None)

    def objective(weight: np.ndarray) -> float:
        logits = said @ weight.T
        true = logits[np.arange(len(targets)), targets]
        return c * float(np.sum(np.log(np.exp(logits).sum(axis=1)) - true)) + 0.5 * float(np.sum(weight**2))

    assert objective(found) == pytest.approx(objective(theirs), rel=1e-5)
    np.testing.assert_allclose(said @ found.T, said @ theirs.T, rtol=2e-3, atol=2e-3 if c < 1e3 else 0.05)


def test_bayes_rule_turns_the_conditional_round() -> None:
    joint = np.random.default_rng(0).dirichlet(np.ones(15)).reshape(5, 3)
    source, target = joint.sum(axis=1), joint.sum(axis=0)
    found = turned_round(joint / source[:, None], source)
    np.testing.assert_allclose(found, joint.T / target[:, None])


def test_the_reverse_relationship_finds_who_resembles_whom() -> None:
    said, targets = looks_like(3, 8, 60)
    found = reverse(said, targets, 3, np.arange(60) // 3 % 5)
    np.testing.assert_allclose(found.given_target.sum(axis=1), 1.0)
    assert found.given_target.argmax(axis=1).tolist() == [0, 1, 2]
    mean = said.mean(axis=0)
    assert all(found.given_target[t, t] > 2 * mean[t] for t in range(3))


def test_the_reverse_relationship_is_that_of_scikit_learn_and_scipy() -> None:
    said, targets = looks_like(3, 6, 45)
    fold_of = np.arange(45) // 3 % 5

    def weights(rows: np.ndarray, c: float) -> np.ndarray:
        model = LogisticRegression(C=c, fit_intercept=False, tol=1e-8, max_iter=20_000)
        return model.fit(said[rows], targets[rows]).coef_

    def rescaled(logits: np.ndarray, inverse: float) -> float:
        return log_loss(targets, scipy_softmax(logits * inverse, axis=1))

    tried = []
    for c in STRENGTHS:
        logits = np.zeros((45, 3))
        for fold in range(5):
            logits[fold_of == fold] = said[fold_of == fold] @ weights(fold_of != fold, c).T
        best = minimize_scalar(
            lambda log, logits=logits: rescaled(logits, np.exp(log)), bounds=(-3, 3), method="bounded"
        )
        tried.append((best.fun, c, np.exp(best.x)))
    loss, c, inverse = min(tried)
    given_source = scipy_softmax(weights(np.ones(45, dtype=bool), c).T * inverse, axis=1)
    joint = given_source * said.mean(axis=0)[:, None]
    found = reverse(said, targets, 3, fold_of)
    assert (found.facts["c"], found.facts["log_loss"]) == (c, pytest.approx(loss, abs=1e-3))
    np.testing.assert_allclose(found.given_target, (joint / joint.sum(axis=0)).T, atol=2e-3)


def test_where_the_source_tells_nothing_every_class_has_about_the_same_relations() -> None:
    said, _ = looks_like(1, 8, 60)
    targets = np.random.default_rng(1).permutation(np.arange(60) % 3)
    found = reverse(said, targets, 3, np.arange(60) % 5)
    assert np.abs(found.given_target - said.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("way", ["direct", "reverse"])
def test_a_class_without_examples_has_the_mean_over_all(way: str) -> None:
    said, targets = looks_like(3, 8, 30)
    kept = targets != 1
    fold_of = np.arange(30)[kept] // 3 % 5
    found = direct(said[kept], targets[kept], 3) if way == "direct" else reverse(said[kept], targets[kept], 3, fold_of)
    np.testing.assert_allclose(found.given_target[1], said[kept].mean(axis=0))
    np.testing.assert_allclose(found.given_target.sum(axis=1), 1.0)


def test_the_source_classifier_is_trained_along(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    tails, make = [], Tail.__init__

    def noted(self, *given, **named):
        make(self, *given, **named)
        tails.append(self)

    monkeypatch.setattr(Tail, "__init__", noted)
    fitted(FINETUNE, problem(tiny, "5a", examples=9), finetune.Options(**QUICK))
    after = tails[0].terms["regulariser"].source_head.weight.detach().numpy()
    assert not np.array_equal(after, tiny.tensors()["source/weight"])


def test_a_backbone_without_its_source_classifier_is_refused(tiny: Backbone, tmp_path) -> None:
    path = tmp_path / "tensors.safetensors"
    write_tensors(path, {name: a for name, a in tiny.tensors().items() if not name.startswith("source/")})
    bundled = replace(tiny, tensors_path=path, card=replace(tiny.card, num_source_classes=0))
    asked = replace(problem(tiny, "5a", examples=9), backbone=bundled)
    with pytest.raises(BadRequest, match=r"co_tuning.* has none .*source classifier.*\n.*delta"):
        fitted(FINETUNE, asked, finetune.Options(**QUICK))


def test_a_task_that_is_no_classification_is_refused(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", examples=9)
    other = Classification(asked.task.classes, kind="regression", weighable=False)
    with pytest.raises(BadRequest, match=r"relates classes to classes, but the task is regression.*\n.*delta"):
        fitted(FINETUNE, replace(asked, task=other), finetune.Options(**QUICK))
