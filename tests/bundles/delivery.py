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
    pixels = random.integers(0, 256, (6, *backbone.card.preparation.input_px, 3), dtype=np.uint8)
    prefixes = prefixes_of(backbone, task.reads, device="cpu", backend="auto", threads=1)
    features = prefixes.states(("output",), [{"pixels": one} for one in pixels])[0]["output"]["pooled"]
    scale = features.std(axis=0).mean() * np.sqrt(backbone.card.width)
    weight = (random.normal(size=(task.num_outputs, backbone.card.width)) / scale).astype(np.float32)
    head = {"weight": weight, "bias": -(features @ weight.T).mean(axis=0)}
    model = Model(backbone=backbone, task=task, head=head, temperature=1.7, ood=None)
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
