"""The end of a run: evaluation, bundle, report."""

import datetime
import json
import platform
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import asdict
from importlib.metadata import version

import numpy as np

from regraft.contracts.card import Card
from regraft.contracts.finding import Finding
from regraft.contracts.task import Task
from regraft.records import to_json
from regraft.reports.card import model_card
from regraft.reports.page import write_pages
from regraft.reports.plots import wanted
from regraft.reports.report import (
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
from regraft.values import Event, Notice
from regraft.workbench._evaluated import Evaluated, evaluated, findings_of, temperature_of
from regraft.workbench._folder import RunFolder
from regraft.workbench._model import write_model
from regraft.workbench._outcome import Outcome
from regraft.workbench._predictions import predictions_table
from regraft.workbench._timing import Phases, peak_memory_bytes


def finish(outcome: Outcome, folder: RunFolder, phases: Phases) -> Generator[Event, None, Report]:
    """Evaluate, write the bundle and the report; returns the report."""
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
        yield Notice(text=f"Stored activations change {changed} against recomputed ones{size}.", topic="store")
    if outcome.session.task.states_probabilities and not (found.calibration and found.calibration.kept):
        reason = found.calibration.reason if found.calibration else "uncalibrated, too few held-out predictions"
        yield Notice(text=f"Probabilities are {reason}.{found.surer if outcome.tuned else ''}", topic="calibration")
    report = _report(outcome, found, findings, check, phases)
    task, temperature = outcome.session.task, temperature_of(found.calibration)
    examples = outcome.session.dataset.examples
    said = {
        split: ([examples[at] for at in scores.positions], task.outputs(scores.logits, temperature))
        for split, scores in found.scores.items()
    }
    folder.write("predictions.csv", predictions_table(task, said))
    folder.write("environment.json", report.environment)
    folder.write("model/README.md", model_card(facts, report))
    write_pages(report, folder.path, plots=wanted(report))
    return report


def _report(
    outcome: Outcome, found: Evaluated, findings: tuple[Finding, ...], check: StoreCheck | None, phases: Phases
) -> Report:
    resolved, fitted = outcome.resolved, outcome.fitted
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
        findings=findings,
        calibration=found.calibration,
        untested=found.untested,
        store=outcome.stored.facts(check),
        phases=tuple(Phase(name=name, seconds=round(seconds, 3)) for name, seconds in phases.seconds.items()),
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
    """Now."""
    return Made(created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), seed=seed)


def backbone_facts(card: Card, digest: str, *, total: int | None = None, trained: int | None = None) -> BackboneFacts:
    """What a report says of a network with this card."""
    names = ("name", "family", "variant", "weights", "licence", "trained_on", "source")
    known = {name: getattr(card, name) for name in names}
    return BackboneFacts(
        **known,
        digest=digest,
        input_px=card.input_px,
        parameters_total=total,
        parameters_trained=trained,
    )


def split_facts(task: Task, labels: Sequence[str], targets: np.ndarray) -> SplitFacts:
    """How many examples are of each class or have each label; the range of each target."""
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
    session, problem = outcome.session, outcome.problem
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
    """Whether a tensor counts as a parameter of the model: not the source classifier, not running statistics."""
    return not name.startswith("source/") and not name.endswith(("running_mean", "running_var"))
