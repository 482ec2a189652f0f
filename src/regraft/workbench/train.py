"""Train: a model from all the examples that are given, and no proof.

For whoever divides the data himself and judges the model on what he kept back, as cross-validation in other libraries
does. Everybody else wants `fit`.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.backbones.channels import open_for_channels
from regraft.data.dataset import Dataset
from regraft.data.memory import ScanMemory
from regraft.data.splits import whole
from regraft.recipe import Recipe
from regraft.values import Event
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._outcome import Outcome, held_out, model_facts, write_model
from regraft.workbench._resolve import backbone_spec, check_asked, named, resolve
from regraft.workbench._states import store_states
from regraft.workbench._subject import Subject, check_channels, scanning, task_of
from regraft.workbench._training import problem_of, trained
from regraft.workbench._verdict import calibration_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained(Event):
    """The last event of a training."""

    path: Path
    """The folder of the model."""
    tuned: bool
    """Whether anything but the head was trained."""


def train(recipe: Recipe, dataset: Dataset, out: Path) -> Iterator[Event]:
    """Train on all of `dataset`, whatever `recipe.data` says, and write the model to the folder `out`.

    Only where the strategy stops early, and enough examples are there, is a part of them kept from training: to say
    when. Yields events, the last one a `Trained`.

    Raises:
        DamagedData: a file cannot be decoded; none is left out.
        RegraftError: what is wrong with the recipe, the weights or the machine, and what to do.
    """
    strategy, threads, device = named(recipe), num_threads(recipe.threads), choose_device(recipe.device)
    spec = backbone_spec(recipe, strategy)
    input_px = recipe.input_px or None
    backbone = yield from open_for_channels(spec, channels=recipe.channels, input_px=input_px, seed=recipe.seed)
    resolved = resolve(recipe, strategy, backbone.card)
    resolved = replace(resolved, cut=backbone.cut(resolved.cut))
    subject = yield from _subject(recipe, dataset, workers=threads)
    check_channels(subject, backbone.card)
    check_asked(resolved, backbone, subject.task)
    stored = yield from store_states(recipe, resolved, backbone, subject, device=device, threads=threads)
    try:
        problem = problem_of(resolved, backbone, subject, stored, recipe, device=device, folder=None)
        fitted = yield from trained(problem, resolved, threads=threads)
        outcome = Outcome(
            recipe=recipe, resolved=resolved, backbone=backbone, subject=subject, stored=stored, problem=problem,
            probe_problem=problem, fitted=fitted, probe=fitted, held=None, probe_held=None, device=device,
            threads=threads,
        )  # fmt: skip
        calibration = calibration_of(subject, held_out(outcome), recipe.seed)
        write_model(outcome, out, calibration, model_facts(outcome, calibration, main="none", metrics={}))
    finally:
        stored.close()
    yield Trained(path=out, tuned=outcome.tuned)


def _subject(recipe: Recipe, dataset: Dataset, *, workers: int) -> Generator[Event, None, Subject]:
    memory = ScanMemory()
    source = replace(recipe.source, max_damaged_share=0.0)
    scanned = yield from scanning(dataset, source, memory, workers=workers)
    task = task_of(scanned.dataset, recipe)
    targets = task.encode([example.label for example in scanned.dataset.examples])
    parts = whole(
        scanned.dataset,
        scanned,
        seed=recipe.seed,
        val_share=source.val_share,
        memory=memory,
        strata=None if task.exclusive else task.strata(targets),
    )
    yield from parts.notes
    return Subject(
        dataset=scanned.dataset,
        scanned=scanned,
        parts=parts,
        task=task.prepared(targets[parts.train]),
        targets=targets,
    )
