"""A report as a run writes it, made without a run: figures from drawn probabilities, everything else by hand."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from answers import sample
from regraft.contracts.metric import Sample, main_metric
from regraft.contracts.task import TASKS
from regraft.evaluation.calibration import calibrate
from regraft.evaluation.differences import compare, difference
from regraft.evaluation.report import Evaluation, evaluate
from regraft.reports.report import (
    BackboneFacts,
    Damaged,
    DataFacts,
    Gap,
    Made,
    ModelFacts,
    Phase,
    Probe,
    Report,
    SplitFacts,
    StoreCheck,
    StoredCut,
    StoreFacts,
    StrategyFacts,
)
from regraft.values import Measured

NAMES = {
    "multilabel": ("sunny", "beach", "a+b", "people"),
    "ordinal": ("none", "mild", "moderate", "severe"),
    "regression": ("price", "area_m2"),
}
"""Outputs of the kinds that are not classification."""


def drawn(n: int, num_classes: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and logits that favour them by `strength` (in standard deviations)."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, num_classes, n)
    return targets, random.normal(size=(n, num_classes)) + strength * np.eye(num_classes)[targets]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities by row."""
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def changed(value: Any, path: str, new: Any) -> Any:
    """A copy of a dataclass, mapping or tuple in which `new` stands at `path`: `evaluation.test.folds`."""
    name, _, rest = path.partition(".")
    inside: Any
    if isinstance(value, tuple):
        at = int(name)
        return (*value[:at], changed(value[at], rest, new) if rest else new, *value[at + 1 :])
    if isinstance(value, dict):
        inside = changed(value[name], rest, new) if rest else new
        return {**value, name: inside}
    inside = changed(getattr(value, name), rest, new) if rest else new
    return replace(value, **{name: inside})


@cache
def sample_report(*, classes: tuple[str, ...] = ("ants", "bees"), n: int = 153, main: str = "test") -> Report:
    """The report of a partial fine-tuning, with the linear probe beside it."""
    targets, logits = drawn(n, len(classes), 2.6, seed=1)
    worse = logits + np.random.default_rng(2).normal(size=logits.shape) * 0.8
    others, theirs = drawn(60, len(classes), 2.6, seed=3)
    learned = Sample(targets=np.ones(244, dtype=np.int64), outputs=np.eye(2)[(np.arange(244) > 2).astype(int)])
    held = Sample(targets=others, outputs=softmax(theirs))
    report = _report("classification", classes, targets, (softmax(logits), softmax(worse)), held, main, learned)
    return replace(report, calibration=calibrate(theirs, others))


@cache
def sample_report_of(kind: str, *, num_outputs: int = 0, main: str = "test") -> Report:
    """The same of another kind of task, on 153 examples; `num_outputs` of its names, all when 0."""
    names = NAMES[kind][: num_outputs or None]
    targets, outputs = sample(kind, 153, len(names), seed=1, digits=6)
    worse = outputs[np.random.default_rng(0).permutation(153)] * 0.3 + outputs * 0.7
    others, theirs = sample(kind, 80, len(names), seed=3, digits=6)
    held, learned = Sample(targets=others, outputs=theirs), Sample(targets=targets[:80], outputs=outputs[:80])
    return _report(kind, names, targets, (outputs, worse), held, main, learned)


def later_evaluation(report: Report) -> Report:
    """The report of an evaluation that a finished model was put to."""
    name = report.evaluation["test"].main_metric
    model = ModelFacts(
        name="ants", path="runs/ants", strategy="partial", cut="4e", trained_on_examples=244, main="cross-validation",
        metrics={name: Measured(value=0.9, low=0.8, high=0.95)},
    )  # fmt: skip
    data = DataFacts(name="site b", kind=report.data.kind, examples=153, classes=report.data.classes)
    return Report(
        run=Made(created=report.run.created), backbone=report.backbone, data=data, main="test", model=model,
        evaluation=report.evaluation, calibration=report.calibration,
    )  # fmt: skip


def _report(
    kind: str, names: tuple[str, ...], targets: np.ndarray, outputs: tuple[np.ndarray, np.ndarray], held: Sample,
    main: str, learned: Sample,
) -> Report:  # fmt: skip
    metric, task = main_metric(kind).name, TASKS.get(kind)(names)
    section, probe = (_section(kind, names, targets, one, held, main) for one in outputs)
    paired = compare(targets, *outputs, metric=metric, names=("partial", "the linear probe"), outputs=names)
    counts = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=len(names))
    counted = dict(zip(names, map(int, counts), strict=True)) if task.answers == "probabilities" else {}
    n = len(targets)
    return Report(
        recipe={"data": "photos", "backbone": "googlenet@imagenet", "strategy": "partial", "seed": 0},
        run=Made(created="2026-01-02T03:04:05+00:00", seed=0),
        backbone=BackboneFacts(
            name="googlenet:torchvision@imagenet",
            family="googlenet",
            variant="torchvision",
            weights="imagenet",
            digest="0123456789abcdef0123456789abcdef01234567",
            licence="BSD-3-Clause code; the weights without terms of their own",
            trained_on="ImageNet-1k (top-1 69.778 %, torchvision)",
            source="https://download.pytorch.org/models/googlenet-1378be20.pth",
            input_px=(224, 224),
            parameters_total=5_599_904,
            parameters_trained=2_487_000,
        ),
        data=DataFacts(
            name="hymenoptera",
            kind=kind,
            examples=n + 244,
            classes=names,
            splits={
                name: SplitFacts(examples=size, per_class=counted) for name, size in (("train", 244), ("test", n))
            },
            drawn_by_us=False,
            notes=("1 hidden file was ignored: .DS_Store.",),
            quarantined=(Damaged(id="train/ants/note.jpg", reason="image file is truncated (12 bytes missing)"),),
            fingerprint="fedcba9876543210fedcba9876543210fedcba98",
        ),
        strategy=StrategyFacts(
            name="finetune",
            preset="partial",
            cut="4e",
            views=4,
            options={"lr": 0.0003, "decay": 0.8, "epochs": 20, "batch_norm": "frozen"},
            facts={"epochs": 20, "best_epoch": 16, "batch_norm": "frozen", "trained_stages": ["5a", "5b"]},
            curve=tuple(
                {
                    "epoch": epoch + 1.0,
                    "loss": 0.7 * 0.8**epoch + 0.02,
                    "val_loss": 0.6 * 0.8**epoch + 0.2 + 0.004 * max(0, epoch - 11),
                    "val_loss_rescaled": 0.6 * 0.8**epoch + 0.19 + 0.001 * max(0, epoch - 11),
                    f"val_{metric}": 0.95 - 0.3 * 0.7**epoch,
                    "learning_rate_factor": 1.0,
                    "seconds": 1.5,
                }
                for epoch in range(20)
            ),
            trained_stages=("5a", "5b"),
            frozen_stages=("stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e"),
        ),
        main=main,
        evaluation={main: section},
        gaps=(
            Gap(
                from_split="train", to_split=main, metric=metric,
                worse_by=difference(learned, Sample(targets=targets, outputs=outputs[0]), metric=metric),
            ),
        ),
        probe=Probe(evaluation=probe, facts={"c": 0.01, "folds": 5}),
        paired=paired,
        store=StoreFacts(
            cuts={
                "4e": StoredCut(dtype="float16", views=4, rows=1588, bytes=129_000_000),
                "output": StoredCut(dtype="float32", views=1, rows=397, bytes=1_600_000),
            },
            reduced_precision_error={"4e": 0.00021},
            backend="onnxruntime",
            check=StoreCheck(examples=153, largest_error=0.00034, changed_labels=0),
        ),
        phases=(
            Phase(name="weights", seconds=0.41), Phase(name="activations", seconds=71.2),
            Phase(name="training", seconds=312.0),
        ),
        peak_memory_bytes=1_234_000_000,
        environment={"python": "3.11.7", "torch": "2.13.0", "platform": "Linux", "device": "cpu", "threads": 2},
    )  # fmt: skip


def _section(
    kind: str, names: tuple[str, ...], targets: np.ndarray, outputs: np.ndarray, held: Sample, main: str
) -> Evaluation:
    found = evaluate(targets, outputs, names, kind=kind, trained_on=targets[:40], held=held, num_resamples=200)
    if main != "cross-validation":
        return found
    mean = Measured(value=0.91, low=0.86, high=0.96, method="nadeau-bengio")
    return replace(found, repeats=4, folds=5, mean_of_folds=mean)
