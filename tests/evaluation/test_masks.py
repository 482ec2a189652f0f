"""Metrics of masks against scikit-learn's of all points, and boundaries against the definition, point by point."""

from math import ceil, hypot

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from regraft.contracts.example import as_records
from regraft.contracts.metric import metric
from regraft.errors import BadData
from regraft.evaluation.differences import compare
from regraft.evaluation.report import evaluate
from regraft.tasks.masks import IGNORED, Mask
from regraft.tasks.said import recorded

CLASSES = 4


def mask(grid: np.ndarray) -> Mask:
    text = recorded(grid.astype(np.uint8), [""] * (IGNORED + 1))["mask"]
    return Mask(grid.shape, text, tuple(range(IGNORED + 1)))


def drawn(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blotches of some classes."""
    coarse = random.integers(0, random.integers(1, CLASSES + 1), (ceil(height / 5), ceil(width / 5)))
    return np.kron(coarse, np.ones((5, 5), dtype=np.int64))[:height, :width]


def sample(seed: int, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Targets, some points ignored, and outputs that are often right."""
    random = np.random.default_rng(seed)
    targets, outputs = [], []
    for _ in range(count):
        height, width = random.integers(6, 30, 2).tolist()
        truth, other = drawn(random, height, width), drawn(random, height, width)
        said = np.where(random.random(truth.shape) < 0.8, truth, other)
        truth = np.where(random.random(truth.shape) < 0.1, IGNORED, truth)
        targets.append(mask(truth))
        outputs.append(mask(said))
    return as_records(targets), as_records(outputs)


@pytest.mark.parametrize("seed", range(40))
def test_iou_and_dice_are_those_of_all_points_together(seed: int) -> None:
    targets, outputs = sample(seed)
    truth, said = (np.concatenate([one.grid().ravel() for one in masks]) for masks in (targets, outputs))
    known = truth != IGNORED
    expected = [
        score(truth[known], said[known], average="macro", zero_division=0.0) for score in (jaccard_score, f1_score)
    ]
    found = [metric(name).compute(targets, outputs) for name in ("iou", "dice")]
    assert found == pytest.approx(expected, abs=1e-12)


def by_definition(truth: np.ndarray, said: np.ndarray) -> dict[int, float]:
    """The boundary F-score of each class that has a boundary, from all pairs of boundary points."""
    said = np.where(truth == IGNORED, IGNORED, said)
    near = ceil(0.0075 * hypot(*truth.shape))

    def edge(grid: np.ndarray, number: int) -> list[tuple[int, int]]:
        found = []
        for y, x in np.argwhere(grid == number).tolist():
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [(a, b) for a, b in beside if 0 <= a < grid.shape[0] and 0 <= b < grid.shape[1]]
            if any(grid[at] not in (number, IGNORED) for at in inside):
                found.append((y, x))
        return found

    def met(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        return float(np.mean([any(hypot(y - a, x - b) <= near for a, b in others) for y, x in some]))

    found = {}
    for number in range(CLASSES):
        one, other = edge(truth, number), edge(said, number)
        if one or other:
            p, r = (met(other, one), met(one, other)) if one and other else (0.0, 0.0)
            found[number] = 2 * p * r / (p + r) if p + r else 0.0
    return found


@pytest.mark.parametrize("seed", range(10))
def test_the_boundary_score_is_that_of_the_definition(seed: int) -> None:
    targets, outputs = sample(seed, 3)
    by_class = dict[int, list[float]]()
    for truth, said in zip(targets, outputs, strict=True):
        for number, score in by_definition(truth.grid(), said.grid()).items():
            by_class.setdefault(number, []).append(score)
    expected = np.mean([np.mean(scores) for scores in by_class.values()])
    assert metric("boundary_f").compute(targets, outputs) == pytest.approx(expected, abs=1e-12)


def test_how_near_counts_grows_with_the_example() -> None:
    truth = np.zeros((300, 400))
    truth[100:200, 100:200] = 1
    for off, expected in ((4, 1.0), (5, 0.0)):  # 0.0075 of a diagonal of 500 is 3.75, rounded up 4
        said = np.zeros_like(truth)
        said[100 - off : 200 + off, 100 - off : 200 + off] = 1
        found = metric("boundary_f").compute(as_records([mask(truth)]), as_records([mask(said)]))
        assert (found > 0.9) == bool(expected)


def test_classes_have_intervals_and_two_models_a_paired_difference() -> None:
    targets, outputs = sample(5, 30)
    found = evaluate(targets, outputs, ("a", "b", "c", "d"), kind="segmentation", num_resamples=100)
    assert found.main_metric == "iou"
    assert found.metrics["iou"].low < found.metrics["iou"].value < found.metrics["iou"].high
    by_class = [one.metrics["iou"].value for one in found.figures.per_class]
    assert np.mean(by_class) == pytest.approx(found.metrics["iou"].value)
    assert sum(one.share for one in found.figures.per_class) == pytest.approx(1)
    assert list(found.blocks())
    pair = compare(targets, targets, outputs, metric="iou", names=("right", "noisy"))
    assert pair.difference.low > 0


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(BadData, match="3 x 4 points, but the predicted one has 4 x 3"):
        metric("iou").compute(as_records([mask(np.zeros((3, 4)))]), as_records([mask(np.zeros((4, 3)))]))
