"""Runs of the study of scarce data: one fit each on a few drawn training examples; kept, so that the study resumes."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _problems import posed, returned
from _sets import SHORT
from defaults_study import INPUT_PX, log_loss

from regraft.contracts.strategy import Problem
from regraft.files import atomic
from regraft.identity import derive_seed, digest_json
from regraft.strategies import finetune, probe
from regraft.strategies.regularisers import co_tuning
from regraft.strategies.regularisers.co_tuning import Relationship, reverse

STEPS = 60
"""Optimizer steps of a tuned model."""
GUESS_S = 20.0
"""Seconds that a run takes, before one was timed."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fit, and what it is judged on."""

    data: str
    """Name of the data set."""
    per_class: int
    """Training examples of each class."""
    seed: int
    """Of the draw, of the order, of the views."""
    options: tuple[tuple[str, Any], ...]
    """Options of `finetune` that differ from those of `full`; empty: the linear probe."""
    judged: str
    """`test`: the set's own test part; `rest`: the training examples that were not drawn."""
    unrelated: bool = False
    """Whether Co-Tuning is given the same relationship for every class: a control."""

    def path(self, kept: Path) -> Path:
        """Where the outcome is kept."""
        control = ["unrelated"] if self.unrelated else []
        name = digest_json([self.data, self.per_class, self.seed, self.options, self.judged, STEPS, *control])
        return kept / f"{name}.json"

    def outcome(self, kept: Path) -> dict[str, Any] | None:
        """What came out: `right` and `loss` by example, `seconds`, `facts`; None where it was not run."""
        path = self.path(kept)
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
        return found


@contextmanager
def workers(jobs: int) -> Iterator["Workers"]:
    """`jobs` processes of one thread each, which keep the sets that they opened."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield Workers(pool, jobs)


@dataclass(frozen=True)
class Workers:
    """Processes that run what they are given."""

    pool: ProcessPoolExecutor
    jobs: int


def run_all(runs: Sequence[Run], kept: Path, by: Workers, *, ends_at: float, what: str) -> None:
    """Run what is missing, in order, until the clock says `ends_at`; the estimate is printed first."""
    todo = [run for run in runs if run.outcome(kept) is None]
    spent = [found["seconds"] for run in runs if (found := run.outcome(kept))]
    each = float(np.median(spent)) if spent else GUESS_S
    print(f"{what}: {len(runs)} runs, {len(todo)} missing, about {each * len(todo) / by.jobs / 60:.0f} min at "
          f"{each:.0f} s each; {(ends_at - time.time()) / 60:.0f} min of the budget left", flush=True)  # fmt: skip
    kept.mkdir(parents=True, exist_ok=True)
    for number, said in enumerate(by.pool.map(_measure, todo, [kept] * len(todo), [ends_at] * len(todo)), 1):
        print(f"{number}/{len(todo)} {said}", flush=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@cache
def opened(data: str) -> tuple[Problem, np.ndarray]:
    """The set as a problem at cut `input`, a new view every epoch; and its test part."""
    return posed(data, "input", 0, input_px=INPUT_PX, spec=SHORT)


def drawn(problem: Problem, per_class: int, seed: int) -> np.ndarray:
    """Places of `per_class` training examples of every class; a larger draw of the same seed holds the smaller."""
    random = np.random.default_rng(derive_seed(seed, "scarce"))
    order = random.permutation(problem.train)
    classes = problem.targets[order]
    return np.sort(np.concatenate([order[classes == c][:per_class] for c in range(problem.task.num_outputs)]))


def unrelated(said: np.ndarray, targets: np.ndarray, num_classes: int, fold_of: np.ndarray) -> Relationship:
    """The mean of what the source classifier says of all examples, for every class."""
    return Relationship(given_target=np.tile(said.mean(axis=0), (num_classes, 1)), facts={"relationship": "none"})


def _measure(run: Run, kept: Path, ends_at: float) -> str:
    told = f"{run.data}, {run.per_class} a class, seed {run.seed}, {dict(run.options) or 'probe'}, {run.judged}"
    told += ", unrelated" * run.unrelated
    began = time.time()
    if began > ends_at:
        return f"{told}: not run, the budget is spent"
    whole, test = opened(run.data)
    part = replace(whole, train=drawn(whole, run.per_class, run.seed), seed=run.seed)
    judged = test if run.judged == "test" else np.setdiff1d(whole.train, part.train)
    if run.unrelated:
        co_tuning.reverse = unrelated
    if run.options:
        options = finetune.Options(**{**finetune.PRESETS["full"].options, "epochs": 1, "min_steps": STEPS,
                                      **dict(run.options)})  # fmt: skip
        try:
            fitted = returned(finetune.fit(probe.with_start(part, finetune.needs(options)), options))
        finally:
            co_tuning.reverse = reverse
    else:
        part = replace(part, cut="output", states=part.top)
        fitted = returned(probe.fit(part, probe.Options()))
    logits, targets = fitted.logits(part, judged), part.targets[judged]
    found = {"run": [run.data, run.per_class, run.seed, run.options, run.judged], "seconds": time.time() - began,
             "right": (logits.argmax(axis=1) == targets).tolist(), "log_loss": log_loss(logits, targets),
             "facts": fitted.facts.get("regulariser"), "curve": [dict(record) for record in fitted.curve]}  # fmt: skip
    with atomic(run.path(kept)) as file:
        file.write(json.dumps(found).encode())
    return f"{told}: {np.mean(found['right']):.3f} {found['log_loss']:.3f} {found['seconds']:.0f} s"
