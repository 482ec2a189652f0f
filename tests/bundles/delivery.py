"""A model of every kind for exports: a backbone with drawn weights and a drawn head, written and loaded again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from kinds import names_of, posed
from problems import opened
from regraft.backbones.backbone import Backbone
from regraft.bundles.bundle import Bundle, Model, golden_logits, load, prefixes_of, write_bundle
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import TASKS

BLOCKED = "regraft", "torch", "torchvision", "onnx", "sklearn", "scipy", "timm"
CLEAN = f"""
import importlib.abc, runpy, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script where none of these can be imported, nor anything from the current folder or PYTHONPATH (`-I`)."""


def task_of(kind: str) -> Any:
    """The task with three classes, labels or numbers, knowing the scale of some targets."""
    return posed(kind, np.arange(12) % 3)[0]


def bundle_of(backbone: Backbone, kind: str, folder: Path) -> Bundle:
    """A saved model with a drawn head whose logits differ among inputs, calibrated by 1.7."""
    task, random = task_of(kind), np.random.default_rng(0)
    prefixes = prefixes_of(backbone, task.reads, device="cpu", backend="auto", threads=1)
    modality, preparation = MODALITIES.get(backbone.card.modality), backbone.card.preparation
    records = [modality.load(one, preparation, None)[0] for one in modality.golden(3, preparation)]
    features = prefixes.states(("output",), records)[0]["output"]["pooled"]
    scale = features.std(axis=0).mean() * np.sqrt(backbone.card.width)
    weight = (random.normal(size=(task.num_outputs, backbone.card.width)) / scale).astype(np.float32)
    head = {"weight": weight, "bias": -(features @ weight.T).mean(axis=0)}
    return written(Model(backbone=backbone, task=task, head=head, temperature=1.7, ood=None), folder)


def with_module(backbone: Backbone, kind: str, classes: tuple[str, ...], folder: Path, spread: float) -> Bundle:
    """A saved model of a task whose head is a module, drawn from normal numbers of this standard deviation."""
    task, random = TASKS.get(kind)(classes), np.random.default_rng(0)
    head = task.head(backbone.card.widths(task.reads.readout, task.reads.strides), 0.0)
    drawn = {
        name: (random.normal(size=one.shape) * spread).astype(np.float32) for name, one in head.state_dict().items()
    }
    return written(Model(backbone=backbone, task=task, head=drawn, temperature=1.0, ood=None), folder)


def written(model: Model, folder: Path) -> Bundle:
    """The model, written to a folder and loaded again."""
    prefixes = prefixes_of(model.backbone, model.task.reads, device="cpu", backend="auto", threads=1)
    golden = golden_logits(Bundle(model, {}, prefixes, 1))
    folder.mkdir(parents=True)
    write_bundle(folder, model, facts={}, golden=golden, backend=prefixes.backend_name())
    return load(folder, threads=1, workers=1)


def of_shelf(name: str, px: int, kind: str, folder: Path) -> Bundle:
    """A model of a backbone on the shelf."""
    return bundle_of(opened(f"{name}@random", px), kind, folder)


def in_clean_interpreter(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python SCRIPT WORDS…` where nothing of regraft or torch can be imported."""
    command = [sys.executable, "-I", "-c", CLEAN, str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def said_by(script: Path, *files: Path) -> list[dict[str, Any]]:
    """What a `predict.py` says of files, in a clean interpreter."""
    done = in_clean_interpreter(script, *map(str, files))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


__all__ = ["bundle_of", "in_clean_interpreter", "names_of", "of_shelf", "said_by", "task_of"]
