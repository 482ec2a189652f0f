"""The model of a finished training, written as a bundle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.activations.disk import Memo
from regraft.bundles.bundle import Bundle, Model, golden_logits, prefixes_of, with_changes, write_bundle
from regraft.contracts.task import Task
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.ood import OODReference, fit_reference, reference_from
from regraft.files import cache_home
from regraft.identity import derive_seed
from regraft.records import numbers_in, to_json
from regraft.reports.report import StoreCheck
from regraft.values import Measured
from regraft.workbench._evaluated import temperature_of
from regraft.workbench._outcome import Outcome

MAX_CHECKED = 256
"""Examples on which stored and recomputed activations are compared."""
MAX_REFERENCE = 2000
"""Training examples that the out-of-distribution score of a tuned model rests on."""


def write_model(
    outcome: Outcome,
    path: Path,
    calibration: Calibration | None,
    *,
    main: str = "none",
    metrics: Mapping[str, Measured] | None = None,
) -> tuple[StoreCheck | None, Mapping[str, Any]]:
    """Write the model to the folder `path`; `main` names the split that `metrics` come from.

    Returns how it compares with the stored activations it was trained on, and what `bundle.json` holds.
    """
    changed = dict(outcome.fitted.tensors)
    backbone = with_changes(outcome.backbone, changed, path / ".tuned.safetensors")
    model = Model(
        backbone=backbone,
        task=outcome.session.task,
        head={name.removeprefix("head/"): one for name, one in changed.items() if name.startswith("head/")},
        temperature=temperature_of(calibration),
        ood=None,
    )
    prefixes = (
        prefixes_of(model, device=outcome.device, backend=outcome.recipe.backend, threads=outcome.threads)
        if outcome.tuned
        else outcome.stored.prefixes
    )
    bundle = Bundle(model, {}, prefixes, outcome.threads)
    bundle.model = model = replace(model, ood=outcome.fitted.reference or _reference(outcome, bundle))
    golden = golden_logits(bundle, Memo(cache_home() / "store"))
    said = {
        "strategy": outcome.recipe.strategy,
        "cut": outcome.resolved.cut,
        "trained_on_examples": len(outcome.problem.train),
        "data": outcome.session.dataset.fingerprint,
        "main": main,
        "metrics": to_json(metrics or {}),
        "calibration": to_json(calibration),
    }
    facts = write_bundle(path, model, facts=said, golden=golden, backend=prefixes.backend_name())
    check = _checked(outcome, bundle)
    (path / ".tuned.safetensors").unlink(missing_ok=True)
    return check, facts


def _reference(outcome: Outcome, bundle: Bundle) -> OODReference | None:
    """Class means and distances of examples outside the means: out of fold, or validation where there is some; None
    where a class has one example, no fold can be tested, or the head reads more than a vector."""
    reads = bundle.model.task.reads
    if reads.readout != "pooled" or reads.strides:
        return None
    problem, targets = outcome.problem, outcome.session.targets
    train = problem.train
    kinds = bundle.model.task.kinds(targets)
    if min(np.bincount(kinds[train])) < 2:
        return None
    if outcome.tuned and len(train) > MAX_REFERENCE:
        random = np.random.default_rng(derive_seed(outcome.recipe.seed, "unlike"))
        train = np.sort(random.choice(train, MAX_REFERENCE, replace=False))
    features = _features(outcome, bundle, train)
    if outcome.tuned and len(problem.val):
        return reference_from(features, kinds[train], _features(outcome, bundle, problem.val))
    seed = derive_seed(outcome.recipe.seed, "unlike", "folds")
    dealt = bundle.model.task.deal(targets[train], problem.groups[train], 5, seed)
    return fit_reference(features, kinds[train], dealt.of_example) if dealt.num_folds > 1 else None


def _features(outcome: Outcome, bundle: Bundle, positions: np.ndarray) -> np.ndarray:
    """The model's own features of some examples: from stored states where there are any, else computed again."""
    if outcome.problem.states.num_views is not None:
        found = outcome.fitted.features(outcome.problem, positions)
        result: np.ndarray = found[0 : len(positions)]
        return result
    batches = ([record for (record, _), *_ in batch] for batch in outcome.prepared(positions))
    return np.concatenate([bundle.features(batch) for batch in batches])


def _checked(outcome: Outcome, bundle: Bundle) -> StoreCheck | None:
    """Logits from stored activations against the assembled model on recomputed ones; for what is kept in float16."""
    kept = outcome.stored.wants.get(outcome.resolved.cut)
    if kept is None or kept.dtype != "float16":
        return None
    source = outcome.session.splits.test if outcome.session.tests else outcome.problem.train
    positions = source[np.linspace(0, len(source) - 1, min(MAX_CHECKED, len(source))).astype(np.int64)]
    stored = outcome.fitted.logits(outcome.problem, positions)
    recomputed = np.concatenate([bundle.raw(batch) for batch in outcome.prepared(positions)])
    numbers, again = numbers_in(stored), numbers_in(recomputed)
    # what was generated may differ in length: then the changed labels alone tell
    same, scale = numbers.shape == again.shape, float(np.abs(again).max(initial=0.0)) or 1.0
    return StoreCheck(
        examples=len(positions),
        largest_error=float(np.abs(numbers - again).max(initial=0.0)) / scale if same else None,
        changed_labels=_changed(bundle.model.task, stored, recomputed),
    )


def _changed(task: Task, stored: np.ndarray, recomputed: np.ndarray) -> int | None:
    """How many labels differ; None where labels are numbers, of which every one differs somewhat."""
    if task.answers == "values":
        return None
    pairs = zip(task.decode(task.outputs(stored)), task.decode(task.outputs(recomputed)), strict=True)
    return sum(one != other for one, other in pairs)
