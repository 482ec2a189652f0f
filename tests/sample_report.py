"""A report as a run writes it, made without a run: figures from drawn probabilities, everything else by hand."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from answers import sample
from regraft.contracts.metric import Sample, main_metric
from regraft.evaluation.calibration import calibrate
from regraft.evaluation.differences import compare, difference
from regraft.evaluation.report import as_json, evaluate


def drawn(n: int, num_classes: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and logits that favour them by `strength` (in standard deviations)."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, num_classes, n)
    return targets, random.normal(size=(n, num_classes)) + strength * np.eye(num_classes)[targets]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities by row."""
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


NAMES = {
    "multilabel": ("sunny", "beach", "a;b", "people"),
    "ordinal": ("none", "mild", "moderate", "severe"),
    "regression": ("price", "area_m2"),
}
"""Outputs of the kinds that are not classification."""


def sample_report(*, classes: tuple[str, ...] = ("ants", "bees"), n: int = 153, main: str = "test") -> dict[str, Any]:
    """The report of a partial fine-tuning, with the linear probe beside it; the caller may change it."""
    return deepcopy(_report(classes, n, main))


def sample_report_of(kind: str, *, num_outputs: int = 0, main: str = "test") -> dict[str, Any]:
    """The same of another kind of task, on 153 examples; `num_outputs` of its names, all when 0."""
    return deepcopy(_report_of(kind, num_outputs, main))


@cache
def _report_of(kind: str, num_outputs: int, main: str) -> dict[str, Any]:
    names = NAMES[kind][: num_outputs or None]
    targets, outputs = sample(kind, 153, len(names), seed=1, digits=6)
    worse = sample(kind, 153, len(names), seed=1, digits=6)[1]
    worse = worse[np.random.default_rng(0).permutation(153)] * 0.3 + worse * 0.7
    others, theirs = sample(kind, 80, len(names), seed=3, digits=6)
    held = Sample(targets=others, outputs=theirs)
    section, probe = (
        evaluate(targets, one, names, kind=kind, trained_on=targets[:40], held=held, num_resamples=200).to_json()
        for one in (outputs, worse)
    )
    metric = main_metric(kind).name
    paired = compare(targets, outputs, worse, metric=metric, names=("partial", "the linear probe"), outputs=names)
    learned, unseen = (Sample(targets=targets[rows], outputs=outputs[rows]) for rows in (slice(0, 80), slice(80, None)))
    worse_by = as_json(difference(learned, unseen, metric=metric))
    report = sample_report(main=main)
    if main == "cross-validation":
        mean = {"value": 0.5, "low": 0.4, "high": 0.6, "level": 0.95, "method": "nadeau-bengio"}
        for one in (section, probe):
            one |= {"repeats": 4, "folds": 5, "mean_of_folds": mean}
    report["evaluation"] = {main.replace("-", "_"): section}
    report["gaps"] = [{"from": "train", "to": main, "metric": metric, "worse_by": worse_by}]
    report["probe"]["evaluation"], report["paired"] = probe, as_json(paired)
    counted = {name: int(count) for name, count in zip(names, _counts(targets, len(names)), strict=False)}
    for part in report["data"]["parts"].values():
        if part:
            part["per_class"] = counted
    report["data"]["classes"] = list(names)
    for row in report["strategy"]["curve"]:
        row[f"val_{metric}"] = row.pop("val_accuracy")
    return report


def _counts(targets: np.ndarray, num_outputs: int) -> list[int]:
    if targets.dtype == np.float64:
        return []
    return (targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=num_outputs)).tolist()


@cache
def _report(classes: tuple[str, ...], n: int, main: str) -> dict[str, Any]:
    count = len(classes)
    targets, logits = drawn(n, count, 2.6, seed=1)
    worse = logits + np.random.default_rng(2).normal(size=logits.shape) * 0.8
    val_targets, val_logits = drawn(60, count, 2.6, seed=3)
    held = Sample(targets=val_targets, outputs=softmax(val_logits))
    section = evaluate(targets, softmax(logits), classes, held=held, num_resamples=200).to_json()
    probe = evaluate(targets, softmax(worse), classes, held=held, num_resamples=200).to_json()
    paired = compare(targets, softmax(logits), softmax(worse), names=("partial", "the linear probe"))
    unseen = Sample(targets=targets, outputs=softmax(logits))
    learned = Sample(targets=np.ones(244, dtype=np.int64), outputs=np.eye(2)[(np.arange(244) > 2).astype(int)])
    per_class = {name: int((targets == code).sum()) for code, name in enumerate(classes)}
    key = main.replace("-", "_")
    if main == "cross-validation":
        accuracy = {"value": 0.91, "low": 0.86, "high": 0.96, "level": 0.95, "method": "nadeau-bengio"}
        for one in (section, probe):
            one |= {"repeats": 4, "folds": 5, "mean_of_folds": accuracy}
    return {
        "format": 1,
        "regraft": "0.1.0",
        "recipe": {"data": "photos", "backbone": "googlenet@imagenet", "strategy": "partial", "seed": 0},
        "run": {"created": "2026-01-02T03:04:05+00:00", "seed": 0},
        "backbone": {
            "name": "googlenet:torchvision@imagenet",
            "family": "googlenet",
            "variant": "torchvision",
            "weights": "imagenet",
            "digest": "0123456789abcdef0123456789abcdef01234567",
            "licence": "BSD-3-Clause code; the weights without terms of their own",
            "trained_on": "ImageNet-1k (top-1 69.778 %, torchvision)",
            "source": "https://download.pytorch.org/models/googlenet-1378be20.pth",
            "input_px": [224, 224],
            "parameters_total": 5_599_904,
            "parameters_trained": 2_487_000,
        },
        "data": {
            "name": "hymenoptera",
            "examples": n + 244,
            "classes": list(classes),
            "parts": {
                "train": {"examples": 244, "per_class": dict.fromkeys(classes, 244 // count)},
                "val": None,
                "test": {"examples": n, "per_class": per_class},
            },
            "drawn_by_us": False,
            "groups": None,
            "notes": ["1 hidden file was ignored: .DS_Store."],
            "quarantined": [{"id": "train/ants/imagenote.jpg", "reason": "image file is truncated (12 bytes missing)"}],
            "fingerprint": "fedcba9876543210fedcba9876543210fedcba98",
        },
        "strategy": {
            "name": "finetune",
            "preset": "partial",
            "cut": "4e",
            "views": 4,
            "options": {"lr": 0.0003, "decay": 0.8, "epochs": 20, "batch_norm": "frozen"},
            "facts": {"epochs": 20, "best_epoch": 16, "batch_norm": "frozen", "trained_stages": ["5a", "5b"]},
            "curve": [
                {
                    "epoch": epoch + 1.0,
                    "loss": 0.7 * 0.8**epoch + 0.02,
                    "val_loss": 0.6 * 0.8**epoch + 0.2 + 0.004 * max(0, epoch - 11),
                    "val_loss_rescaled": 0.6 * 0.8**epoch + 0.19 + 0.001 * max(0, epoch - 11),
                    "val_accuracy": 0.95 - 0.3 * 0.7**epoch,
                    "rate": 1.0,
                    "seconds": 1.5,
                }
                for epoch in range(20)
            ],
            "trained_stages": ["5a", "5b"],
            "frozen_stages": ["stem", "3a", "3b", "4a", "4b", "4c", "4d", "4e"],
        },
        "main": main,
        "evaluation": {"test": None, "validation": None, "cross_validation": None, "train": None, key: section},
        "gaps": [{"from": "train", "to": main, "metric": "accuracy", "worse_by": as_json(difference(learned, unseen))}],
        "probe": {"evaluation": probe, "facts": {"c": 0.01, "folds": 5}},
        "paired": as_json(paired),
        "calibration": as_json(calibrate(val_logits, val_targets)),
        "unlike": {},
        "store": {
            "cuts": {
                "4e": {"dtype": "float16", "views": 4, "rows": 1588, "bytes": 129_000_000},
                "output": {"dtype": "float32", "views": 1, "rows": 397, "bytes": 1_600_000},
            },
            "half_error": {"4e": 0.00021},
            "check": {"examples": 153, "largest_error": 0.00034, "changed_labels": 0},
            "backend": "onnxruntime",
        },
        "phases": [
            {"name": "weights", "seconds": 0.41},
            {"name": "activations", "seconds": 71.2},
            {"name": "training", "seconds": 312.0},
        ],
        "peak_memory_bytes": 1_234_000_000,
        "environment": {"python": "3.11.7", "torch": "2.13.0", "platform": "Linux", "device": "cpu", "threads": 2},
    }
