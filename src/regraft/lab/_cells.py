"""A cell of a study: one arm trained on one draw of examples, by the product's own `finetune`, and what came of it."""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from regraft.activations.states import States
from regraft.contracts.strategy import Fitted, Problem
from regraft.contracts.study import Arm, Study
from regraft.lab._arms import Gradients, backbone_in, family_of
from regraft.lab.designs import Widths
from regraft.lab.kept import packed
from regraft.lab.setting import Examples, Others, Setting
from regraft.strategies import finetune, probe
from regraft.values import Event, drained

MAX_TRAIN_TRIED = 1000
"""Training examples on which training accuracy is measured, at most: the first of the draw in a drawn order."""
BINS = 30
"""The number of spans of steps over which means of gradients are kept."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is trained once."""

    arm: str
    """Name of the arm."""
    size: int
    """Training examples of a class."""
    seed: int
    """Everything drawn follows from it."""

    @property
    def key(self) -> dict[str, Any]:
        """What names its row."""
        return {"arm": self.arm, "size": self.size, "seed": self.seed}


def cells_of(study: Study, setting: Setting, sizes: tuple[int, ...]) -> list[Cell]:
    """All cells in order of value: those that the verdict rests on first, whole comparisons, seed by seed."""
    wanted = sizes if study.sizes == "all" else sizes[:1]
    key = {sizes[effect.size] for effect in study.effects if effect.key}
    return [
        Cell(arm=arm.name, size=size, seed=seed)
        for some in ([size for size in wanted if size in key], [size for size in wanted if size not in key])
        for seed in range(setting.seeds)
        for size in some
        for arm in study.arms
    ]


def options_of(arm: Arm, setting: Setting, num_examples: int) -> finetune.Options:
    """How the arm is trained: as `scratch`, for as many whole epochs as come nearest to the setting's steps."""
    steps = math.ceil(num_examples / setting.batch)
    given = {
        **finetune.PRESETS["scratch"].options,
        "lr": setting.lr,
        "epochs": max(1, round(setting.steps / steps)),
        "min_steps": 0,
        "batch": setting.batch,
        "patience": 0,
        "bf16": setting.half,
    }
    return finetune.Options(**{**given, **arm.options})


def measured(
    study: Study, cell: Cell, widths: Widths, setting: Setting, examples: Examples, *, device: str, scratch: Path
) -> Generator[Event, None, dict[str, Any]]:
    """Train the cell, passing on events of training; returns its row. First weights lie in `scratch` meanwhile.

    Raises:
        TrainingFailed: a loss or a weight is no longer finite.
    """
    arm, began = study.arm(cell.arm), time.monotonic()
    gradients = Gradients() if study.gradients else None
    family = family_of(arm.design, widths, setting.input_px, gradients)
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder:
        problem = Problem(
            backbone=backbone_in(Path(folder), family, cell.seed),
            cut="input",
            task=examples.task,
            states=examples.states,
            top=examples.states,
            targets=examples.targets,
            groups=examples.groups,
            train=examples.drawn(cell.size, cell.seed),
            val=np.zeros(0, dtype=np.int64),
            seed=cell.seed,
            device=device,
        )
        fitted = yield from finetune.fit(problem, options_of(arm, setting, len(problem.train)))
    trained_s = time.monotonic() - began
    order = np.random.default_rng(cell.seed).permutation(problem.train)[:MAX_TRAIN_TRIED]
    row = {
        **cell.key,
        "train_accuracy": float(_right(fitted, problem, order).mean()),
        "right": packed(_right(fitted, problem, examples.test)),
        "losses": [round(record["loss"], 4) for record in fitted.curve],
        "seconds": round(trained_s, 2),
    }
    if gradients is not None:
        row["gradients"] = {name: _binned(sizes) for name, sizes in gradients.sizes().items()}
    if study.transfer and examples.others is not None:
        row["transfer"] = packed(_probed(fitted, problem, examples.others))
    return row


def _right(fitted: Fitted, problem: Problem, positions: np.ndarray) -> np.ndarray:
    return fitted.logits(problem, positions).argmax(axis=1) == problem.targets[positions]


def _probed(fitted: Fitted, problem: Problem, others: Others) -> np.ndarray:
    """Whether a linear probe on the trained features is right about each test example of the other classes."""
    both = np.concatenate([others.train, others.test])
    rows = np.asarray(fitted.features(problem, both)[:])
    features = np.zeros((len(problem.targets), rows.shape[1]), dtype=np.float32)
    features[both] = rows
    asked = replace(
        problem, cut="output", task=others.task, targets=others.targets, train=others.train, top=_Held(features)
    )
    return _right(drained(probe.fit(asked, probe.Options())), asked, others.test)


class _Held(States):
    """Features in memory as the top states of their examples, in their plain view."""

    def __init__(self, features: Float[np.ndarray, "n d"]) -> None:
        self._features = features

    @property
    def num_views(self) -> int:
        return 1

    def batch(
        self, examples: Int[np.ndarray, "b"], views: Int[np.ndarray, "b"], pieces: Int[np.ndarray, "b"] | None = None
    ) -> dict[str, np.ndarray]:
        return {"pooled": self._features[examples]}


def _binned(sizes: list[float]) -> list[float]:
    spans = np.array_split(np.array(sizes), min(BINS, len(sizes)))
    return [float(f"{span.mean():.4g}") for span in spans]
