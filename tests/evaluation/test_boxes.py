"""Metrics of boxes against COCO's own evaluation, and suppression against a brute-force reference."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from regraft.contracts.example import as_records
from regraft.contracts.metric import metric
from regraft.evaluation.report import evaluate
from regraft.nn.boxes import overlaps, suppressed

CASES = 200


def drawn(random: np.random.Generator, count: int) -> np.ndarray:
    corners = np.sort(random.integers(0, 60, (count, 2, 2)), axis=1) + np.array([[0, 0], [1, 1]])
    return corners.reshape(count, 4).astype(np.float64)


def sample(seed: int, images: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and predictions that are near some of them; equal scores and overlaps occur."""
    random = np.random.default_rng(seed)
    targets, outputs = [], []
    for _ in range(images):
        boxes = drawn(random, int(random.integers(0, 5)))
        labels = random.integers(0, classes, len(boxes))
        near = np.repeat(boxes, 2, axis=0) + random.integers(-4, 5, (2 * len(boxes), 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        found = np.concatenate([near, drawn(random, int(random.integers(0, 4)))])
        said = np.concatenate([np.repeat(labels, 2), random.integers(0, classes, len(found) - len(near))])
        order = np.argsort(-(scores := random.integers(1, 20, len(found)) / 20), kind="stable")
        targets.append({"boxes": boxes, "labels": labels})
        outputs.append({"boxes": found[order], "labels": said[order], "scores": scores[order]})
    return as_records(targets), as_records(outputs)


def by_coco(targets: Any, outputs: Any, coco: Any, cocoeval: Any) -> tuple[float, float]:
    """mAP and AP50 as COCO's own code has them."""
    sides = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [-1.0, 0, 1.0, 0], [0, -1.0, 0, 1.0]]

    def annotations(records: Any) -> list[dict[str, Any]]:
        return [
            {"id": 0, "image_id": at + 1, "category_id": int(label), "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0, "score": float(score)}
            for at, one in enumerate(records)
            for box, label, score in zip(
                (one["boxes"] @ np.array(sides).T).tolist(), one["labels"], one.get("scores", one["labels"]),
                strict=True,
            )
        ]  # fmt: skip

    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": at + 1} for at in range(len(targets))],
        "categories": [{"id": at, "name": str(at)} for at in range(3)],
        "annotations": [one | {"id": at + 1} for at, one in enumerate(annotations(targets))],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = annotations(outputs)
        if not found:
            return 0.0, 0.0
        run = cocoeval.COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[0], run.stats[1]


def test_the_metrics_are_coco_s_on_random_cases() -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="the reference, pycocotools, is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    for seed in range(CASES):
        targets, outputs = sample(seed)
        if not sum(len(one["labels"]) for one in targets):
            continue
        expected = by_coco(targets, outputs, coco, cocoeval)
        found = metric("map").compute(targets, outputs), metric("ap50").compute(targets, outputs)
        assert found == pytest.approx(expected, abs=1e-6), seed


def test_an_image_that_is_drawn_twice_counts_twice() -> None:
    targets, outputs = sample(3, images=12)
    for one in outputs:
        one["scores"] = np.sort(np.random.default_rng(len(one["scores"])).random(len(one["scores"])))[::-1]
    times = np.array([0, 1, 2, 3, 1, 0, 2, 1, 1, 1, 0, 4])
    repeated = np.repeat(np.arange(12), times)
    weighted = metric("ap50").of_weights(targets, outputs)(times[None].astype(float))[0]
    assert weighted == pytest.approx(metric("ap50").compute(targets[repeated], outputs[repeated]), abs=0.02)


def test_classes_and_sizes_are_told_apart_with_intervals() -> None:
    targets, outputs = sample(5, images=30)
    found = evaluate(targets, outputs, ("a", "b", "c"), kind="detection", num_resamples=100)
    assert found.main_metric == "ap50"
    ap50 = found.metrics["ap50"]
    assert ap50.low <= ap50.value <= ap50.high
    by_class = [one.metrics["ap50"].value for one in found.figures.per_class]
    assert np.mean(by_class) == pytest.approx(ap50.value)
    assert sum(one.boxes for one in found.figures.per_class) == sum(one.boxes for one in found.figures.per_size)
    assert list(found.blocks())


def brute(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """By the definition: a box stays unless a better one that stays overlaps it."""
    better = sorted(range(len(boxes)), key=lambda at: (-scores[at], at))
    kept: list[int] = []
    for at in better:
        if all(overlap(boxes[at], boxes[other]) <= limit for other in kept):
            kept.append(at)
    return kept


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return float(shared / union) if union > 0 else 0.0


def test_suppression_is_the_brute_force_one_on_random_cases() -> None:
    for seed in range(CASES):
        random = np.random.default_rng(seed)
        boxes, scores = drawn(random, 20), random.integers(0, 10, 20) / 10
        limit = float(random.choice([0.1, 0.3, 0.5, 0.7]))
        assert suppressed(boxes, scores, limit).tolist() == brute(boxes, scores, limit)
        assert overlaps(boxes[:3], boxes)[1, 7] == pytest.approx(overlap(boxes[1], boxes[7]), abs=1e-12)
