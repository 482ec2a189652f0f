"""One label per example: codec, loss, scores."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from regraft.errors import BadData
from regraft.tasks.classification import Classification, class_weights, task

THREE = Classification(("a", "b", "c"))


def test_classes_keep_their_order_for_of_two_the_second_is_positive() -> None:
    assert task(["pear", "apple"]).classes == ("pear", "apple")


def test_labels_become_positions() -> None:
    np.testing.assert_array_equal(THREE.encode(["c", "a", "b", "a"]), [2, 0, 1, 0])


def test_an_unknown_label_is_named_and_the_nearest_offered() -> None:
    with pytest.raises(BadData, match=r"'appel'.*\n.*'apple'"):
        task(["apple", "pear"]).encode(["pear", "appel"])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_torchs_softmax_of_logits_divided_by_the_temperature(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32) * 50
    expected = torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()
    np.testing.assert_allclose(THREE.outputs(logits, temperature), expected, rtol=1e-12)


def test_the_score_is_the_share_of_examples_with_the_largest_logit_at_their_class() -> None:
    logits = np.array([[3.0, 1, 2], [1, 3, 2], [1, 3, 2], [0, 0, 1]])
    assert THREE.scores(logits, np.array([0, 1, 2, 2])) == {"accuracy": 0.75}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_objective_is_torchs_cross_entropy_with_scikit_learns_balanced_weights(
    smoothing: float, balanced: bool
) -> None:
    random = np.random.default_rng(1)
    trained_on = np.array([0] * 10 + [1] * 3 + [2] * 7)
    logits, targets = torch.randn(8, 3, dtype=torch.float32), torch.from_numpy(random.integers(3, size=8))
    weights = compute_class_weight("balanced", classes=np.arange(3), y=trained_on)
    expected = torch.nn.functional.cross_entropy(
        logits,
        targets,
        weight=torch.tensor(weights, dtype=torch.float32) if balanced else None,
        label_smoothing=smoothing,
    )
    found = THREE.objective(trained_on, balanced=balanced, smoothing=smoothing)(logits, targets)
    torch.testing.assert_close(found, expected)


def test_the_objective_has_the_gradient_of_softmax_minus_truth() -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 1, 0])
    THREE.objective(targets.numpy(), balanced=False, smoothing=0.0)(logits, targets).backward()
    expected = (torch.softmax(logits, 1) - torch.nn.functional.one_hot(targets, 3)) / 5
    torch.testing.assert_close(logits.grad, expected.detach())


def test_class_weights_average_one_over_the_examples_and_give_classes_equal_sums() -> None:
    targets = np.array([0] * 6 + [2] * 3)
    weights = class_weights(targets, 4)
    assert weights[targets].mean() == pytest.approx(1.0)
    assert weights[0] * 6 == pytest.approx(weights[2] * 3)
    assert weights[[1, 3]].tolist() == [1.0, 1.0]


def test_a_fresh_head_has_the_shape_of_the_question_and_says_nothing() -> None:
    head = THREE.head({"pooled": 5}, dropout=0.0)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {"weight": (3, 5), "bias": (3,)}
    assert torch.equal(head(torch.randn(2, 5)), torch.zeros(2, 3))
