"""The end of a run: evaluation, bundle, report."""

import json
import platform
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.bundles.bundle import Bundle, Model, golden_logits, prefixes_of, with_changes, write_bundle
from regraft.contracts.family import Card
from regraft.contracts.page import Finding
from regraft.contracts.task import Task
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.ood import OODReference, fit_reference, reference_from
from regraft.files import cache_home
from regraft.identity import derive_seed
from regraft.records import to_json
from regraft.reports.page import model_card, write_pages
from regraft.reports.plots import wanted
from regraft.reports.report import (
    Advised,
    BackboneFacts,
    Damaged,
    DataFacts,
    Made,
    Phase,
    Range,
    Report,
    SplitFacts,
    StoreCheck,
    StrategyFacts,
)
from regraft.values import Event, Measured, Notice, now
from regraft.workbench._evaluation import Results, evaluated, findings_of, temperature_of
from regraft.workbench._machine import Phases, peak_memory_bytes
from regraft.workbench._training import Outcome
from regraft.workbench.run import RunFolder, predictions_table

MAX_CHECKED = 256
"""Number of examples to compare stored and recomputed activations on."""
MAX_REFERENCE = 2000
"""Number of training examples in the OOD reference of a fine-tuned model."""


def finish(
    outcome: Outcome, folder: RunFolder, phases: Phases, advice: Advised | None = None
) -> Generator[Event, None, Report]:
    """Evaluate the model, write the bundle and the report; return the report."""
    with phases.measure("evaluation"):
        found = evaluated(outcome)
        findings = findings_of(outcome, found)
    for finding in findings:
        yield Notice(text=finding.message, topic=finding.check)
    with phases.measure("bundle"):
        metrics = found.section.metrics if found.section else {}
        check, facts = write_model(outcome, folder.path / "model", found.calibration, main=found.main, metrics=metrics)
    if check and check.changed_labels:
        size = "" if check.largest_error is None else f" (largest error of the logits {check.largest_error:.1e})"
        changed = f"{check.changed_labels} of {check.examples} labels"
        yield Notice(text=f"Stored activations change {changed} compared with recomputed ones{size}.", topic="store")
    if outcome.session.task.answers == "probabilities" and not (found.calibration and found.calibration.kept):
        reason = found.calibration.reason if found.calibration else "uncalibrated: too few held-out predictions"
        yield Notice(text=f"Probabilities are {reason}.{found.surer if outcome.tuned else ''}", topic="calibration")
    report = replace(_report(outcome, found, findings, check, phases), advised=advice)
    task, temperature = outcome.session.task, temperature_of(found.calibration)
    examples = outcome.session.dataset.examples
    said = {
        split: ([examples[at] for at in scores.positions], task.outputs(scores.logits, temperature))
        for split, scores in found.scores.items()
    }
    seen = np.concatenate([outcome.model.problem.train, outcome.model.problem.val])
    folder.write_trained_on(outcome.session.scanned.rows[seen], outcome.recipe.backbone)
    folder.write("predictions.csv", predictions_table(task, said))
    folder.write("environment.json", report.environment)
    folder.write("model/README.md", model_card(facts, report))
    write_pages(report, folder.path, plots=wanted(report))
    return report


def _report(
    outcome: Outcome, found: Results, findings: tuple[Finding, ...], check: StoreCheck | None, phases: Phases
) -> Report:
    resolved, fitted = outcome.resolved, outcome.model.fitted
    card, tensors = outcome.backbone.card, outcome.backbone.tensors()
    changed = {name for name in fitted.tensors if name not in fitted.frozen}
    stages = [stage for stage in card.stages if any(name.startswith(f"{stage}/") for name in changed)]
    num_trained = fitted.num_trained or sum(fitted.tensors[name].size for name in changed if _counted(name))
    return Report(
        recipe=json.loads(json.dumps(asdict(outcome.recipe))),
        run=made_now(outcome.recipe.seed),
        backbone=backbone_facts(
            card,
            outcome.backbone.digest(),
            total=int(sum(array.size for name, array in tensors.items() if _counted(name))),
            trained=int(num_trained),
        ),
        data=_data(outcome),
        strategy=StrategyFacts(
            name=resolved.named.name,
            preset=outcome.recipe.strategy,
            cut=resolved.cut,
            views=resolved.views,
            options=to_json(resolved.options),
            facts=to_json(fitted.facts),
            curve=tuple(fitted.curve),
            trained_stages=tuple(stages),
            frozen_stages=tuple(stage for stage in card.stages if stage not in stages),
        ),
        main=found.main,
        evaluation=found.evaluation,
        gaps=found.gaps,
        probe=found.probe,
        paired=found.paired,
        baselines=found.baselines,
        findings=findings,
        calibration=found.calibration,
        untested=found.untested,
        store=outcome.stored.facts(check),
        phases=tuple(
            Phase(name=name, seconds=round(seconds, 3), cpu_seconds=round(phases.cpu_seconds[name], 3))
            for name, seconds in phases.seconds.items()
        ),
        peak_memory_bytes=peak_memory_bytes(),
        environment={
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "onnxruntime", "numpy")},
            "platform": platform.platform(),
            "device": outcome.device,
            "threads": outcome.threads,
            "backend": outcome.stored.prefixes.backend_name(),
        },
    )


def made_now(seed: int | None = None) -> Made:
    """Return time and versions of this run."""
    return Made(created=now(), seed=seed)


def backbone_facts(card: Card, digest: str, *, total: int | None = None, trained: int | None = None) -> BackboneFacts:
    """Return a report's facts about a network with this card."""
    names = ("name", "family", "variant", "weights", "licence", "trained_on", "source")
    known = {name: getattr(card, name) for name in names}
    return BackboneFacts(
        **known, digest=digest, input_px=card.input_px, parameters_total=total, parameters_trained=trained
    )


def split_facts(task: Task, labels: Sequence[str], targets: np.ndarray) -> SplitFacts:
    """Count the examples per class or label; for target values, give their range."""
    if task.answers == "values":
        ends = np.quantile(targets, [0, 0.5, 1], axis=0).T.tolist()
        values = {
            name: Range(minimum=low, median=middle, maximum=high)
            for name, (low, middle, high) in zip(task.classes, ends, strict=True)
        }
        return SplitFacts(examples=len(targets), values=values)
    counts = Counter(name for label in labels for name in set(task.named(label)))
    return SplitFacts(examples=len(labels), per_class={name: counts[name] for name in task.classes})


def _data(outcome: Outcome) -> DataFacts:
    session, problem = outcome.session, outcome.model.problem
    dataset, splits = session.dataset, {"train": problem.train, "validation": problem.val, "test": session.splits.test}
    labels = [example.label for example in dataset.examples]
    return DataFacts(
        name=dataset.root.name,
        kind=dataset.kind,
        examples=len(dataset.examples),
        classes=tuple(dataset.classes),
        splits={
            name: split_facts(session.task, [labels[at] for at in positions], session.targets[positions])
            for name, positions in splits.items()
            if len(positions)
        },
        drawn_by_us=session.splits.drawn_by_us,
        groups=None if dataset.groups is None else len(np.unique(dataset.groups)),
        notes=tuple(note.text for note in (*dataset.notes, *session.splits.notes)),
        quarantined=tuple(Damaged(id=one.id, reason=one.reason) for one in session.scanned.quarantined),
        fingerprint=dataset.fingerprint,
    )


def _counted(name: str) -> bool:
    """Return whether a tensor counts as a model parameter: not the source classifier, not running statistics."""
    return not name.startswith("source/") and not name.endswith(("running_mean", "running_var"))


def write_model(
    outcome: Outcome,
    path: Path,
    calibration: Calibration | None,
    *,
    main: str = "none",
    metrics: Mapping[str, Measured] | None = None,
) -> tuple[StoreCheck | None, Mapping[str, Any]]:
    """Write the model to the folder `path`; `main` names the split of `metrics`.

    Return the comparison with the stored activations it was trained on, and the content of `bundle.json`.
    """
    changed = dict(outcome.model.fitted.tensors)
    backbone = with_changes(outcome.backbone, changed, path / ".tuned.part")
    held, fitted = outcome.model.unseen(), outcome.model.fitted
    # Outputs of several folds' models are not those of one.
    whole = held if held is not None and held.by_fold is None else None
    model = Model(
        backbone=backbone,
        task=outcome.session.task.decided(
            fitted.facts, None if whole is None else (whole.logits, outcome.session.targets[whole.positions])
        ),
        head={name.removeprefix("head/"): one for name, one in changed.items() if name.startswith("head/")},
        temperature=temperature_of(calibration),
        ood=None,
    )
    prefixes = (
        prefixes_of(
            backbone, model.task.reads, device=outcome.device, backend=outcome.recipe.backend, threads=outcome.threads
        )
        if outcome.tuned
        else outcome.stored.prefixes
    )
    bundle = Bundle(model, {}, prefixes, outcome.threads)
    bundle.model = model = replace(model, ood=outcome.model.fitted.reference or _reference(outcome, bundle))
    golden = golden_logits(bundle, Memo(cache_home() / "store"))
    said = {
        "strategy": outcome.recipe.strategy,
        "cut": outcome.resolved.cut,
        "trained_on_examples": len(outcome.model.problem.train),
        "data": outcome.session.dataset.fingerprint,
        "main": main,
        "metrics": to_json(metrics or {}),
        "calibration": to_json(calibration),
    }
    facts = write_bundle(path, model, facts=said, golden=golden, backend=prefixes.backend_name())
    check = _checked(outcome, bundle)
    (path / ".tuned.part").unlink(missing_ok=True)
    return check, facts


def _reference(outcome: Outcome, bundle: Bundle) -> OODReference | None:
    """Return class means, and distances of examples that did not contribute to them: out of fold, or validation. None
    if a class has a single example, no fold can be tested, or the head does not read a vector."""
    reads = bundle.model.task.reads
    if reads.readout != "pooled" or reads.strides:
        return None
    problem, targets = outcome.model.problem, outcome.session.targets
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
    """Return the model's features of some examples, from stored states if available, else recomputed."""
    if outcome.model.problem.states.num_views is not None:
        found = outcome.model.fitted.features(outcome.model.problem, positions)
        return found[0 : len(positions)]
    return np.concatenate([bundle.of_inputs(batch) for batch in outcome.prepared(positions)])


def _checked(outcome: Outcome, bundle: Bundle) -> StoreCheck | None:
    """Compare logits from stored float16 activations with those of the assembled model on recomputed ones."""
    kept = outcome.stored.wants.get(outcome.resolved.cut)
    if kept is None or kept.dtype != "float16":
        return None
    source = outcome.session.splits.test if outcome.session.tests else outcome.model.problem.train
    positions = source[np.linspace(0, len(source) - 1, min(MAX_CHECKED, len(source))).astype(np.int64)]
    stored = outcome.model.fitted.logits(outcome.model.problem, positions)
    recomputed = np.concatenate([bundle.raw(batch) for batch in outcome.prepared(positions)])
    numbers, again = _numbers(stored), _numbers(recomputed)
    # What was generated may differ in length, and proposals in their order: then the changed labels alone tell.
    chosen = isinstance(stored[0], Mapping) and not set(bundle.model.task.selects).isdisjoint(stored[0])
    same, scale = numbers.shape == again.shape and not chosen, float(np.abs(again).max(initial=0.0)) or 1.0
    return StoreCheck(
        examples=len(positions),
        largest_error=float(np.abs(numbers - again).max(initial=0.0)) / scale if same else None,
        changed_labels=_changed(bundle.model.task, stored, recomputed),
    )


def _changed(task: Task, stored: np.ndarray, recomputed: np.ndarray) -> int | None:
    """Count the labels that differ; None if labels are numeric, where all differ slightly."""
    if task.answers == "values":
        return None
    pairs = zip(task.decode(task.outputs(stored)), task.decode(task.outputs(recomputed)), strict=True)
    return sum(one != other for one, other in pairs)


def _numbers(value: Any) -> Float[np.ndarray, " n"]:
    """Return every number in an array, or in a tree of mappings, sequences and arrays, as one vector. Mappings are
    traversed in the order of their keys; strings are ignored."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ravel().astype(np.float64) if value.dtype.kind in "biuf" else np.zeros(0)
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple | np.ndarray):
        return np.concatenate([np.zeros(0), *map(_numbers, value)])
    return np.array([value], dtype=np.float64) if isinstance(value, int | float | np.number) else np.zeros(0)
