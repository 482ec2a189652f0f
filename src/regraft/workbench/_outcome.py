"""The end of a run: proof, bundle, report."""

import datetime
import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.activations.batches import ahead
from regraft.activations.disk import Memo
from regraft.backbones.backbone import Backbone
from regraft.bundles.bundle import Bundle, Model, golden_logits, prefixes_of, with_changes, write_bundle
from regraft.contracts.modality import Record
from regraft.contracts.strategy import Fitted, Problem
from regraft.contracts.task import Task
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.ood import OODReference, fit_reference, reference_from
from regraft.evaluation.report import as_json
from regraft.files import cache_home
from regraft.identity import derive_seed
from regraft.recipe import Recipe
from regraft.reports.card import model_card
from regraft.reports.markdown import render
from regraft.reports.plots import wanted, write_plots
from regraft.values import Event, Notice
from regraft.version import VERSION
from regraft.workbench._crossvalidate import HeldOut
from regraft.workbench._folder import RunFolder
from regraft.workbench._predictions import predictions_table
from regraft.workbench._resolve import Resolved
from regraft.workbench._sections import data_section, environment
from regraft.workbench._states import Stored
from regraft.workbench._timing import Phases, peak_memory_bytes
from regraft.workbench._verdict import (
    Scores,
    answers_of,
    calibration_of,
    evaluation_of,
    gaps_of,
    paired_with_probe,
)  # fmt: skip
from regraft.workbench.session import Session

MAX_CHECKED = 256
"""Examples on which stored and recomputed activations are compared."""
MAX_REFERENCE = 2000
"""Training examples that the measure of unlike inputs of a tuned model rests on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Everything that a finished training leaves behind."""

    session: Session
    resolved: Resolved
    backbone: Backbone
    stored: Stored
    problem: Problem
    probe_problem: Problem
    fitted: Fitted
    probe: Fitted
    held: HeldOut | None
    probe_held: HeldOut | None
    device: str
    threads: int

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return self.session.recipe

    @property
    def tuned(self) -> bool:
        """Whether anything but the head was trained."""
        return self.resolved.named.name != "probe"

    def scores(self, positions: np.ndarray) -> Scores:
        """The model on some examples."""
        return Scores(positions=positions, logits=self.fitted.logits(self.problem, positions))

    def probe_scores(self, positions: np.ndarray) -> Scores:
        """The linear probe on some examples."""
        return Scores(positions=positions, logits=self.probe.logits(self.probe_problem, positions))


def finish(outcome: Outcome, folder: RunFolder, phases: Phases) -> Generator[Event, None, dict[str, Any]]:
    """Evaluate, write the bundle and the report; returns the report."""
    with phases.measure("evaluation"):
        evaluated = _evaluate(outcome)
    with phases.measure("bundle"):
        check, facts = write_model(
            outcome, folder.path / "model", evaluated.calibration, _measured_facts(outcome, evaluated)
        )
    if check and check["changed_labels"]:
        error = check["largest_error"]
        size = "" if error is None else f" (largest error of the logits {error:.1e})"
        text = (
            f"Stored activations change {check['changed_labels']} of {check['examples']} labels against recomputed ones"
        )
        yield Notice(text=f"{text}{size}.", topic="store")
    stated = outcome.session.task.answers == "probabilities"
    if stated and (not evaluated.calibration or not evaluated.calibration.kept):
        reason = evaluated.calibration.reason if evaluated.calibration else "uncalibrated, n too small"
        yield Notice(text=f"Probabilities are {reason}.{_surer(evaluated)}", topic="calibration")
    report = _report(outcome, evaluated, check, phases)
    _write(folder, outcome, evaluated, report, facts)
    return report


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """The numbers of the run."""

    main: str
    parts: dict[str, Scores]
    sections: dict[str, Any]
    gaps: list[dict[str, Any]]
    probe: dict[str, Any] | None
    paired: Any
    calibration: Calibration | None

    @property
    def section(self) -> Any:
        """The main evaluation; None where there is none."""
        return self.sections.get(self.main.replace("-", "_"))


def _surer(evaluated: Evaluated) -> str:
    """What to do where the log loss lies above the probe's, by its interval; else nothing."""
    if evaluated.probe is None or evaluated.section is None:
        return ""
    sections = (evaluated.section, evaluated.probe["evaluation"])
    own, probes = (section["metrics"].get("log_loss") for section in sections)
    if not own or not probes or (own["low"] or 0.0) <= probes["value"]:
        return ""
    return (
        f" Their log loss is {own['value']:.3f}, the linear probe's {probes['value']:.3f}: where probabilities matter, "
        "use --strategy probe, or give fifty examples or more as a validation part."
    )


def _evaluate(outcome: Outcome) -> Evaluated:
    session, train = outcome.session, outcome.problem.train
    parts, sections = {}, {}
    held = held_out(outcome)
    calibration = calibration_of(session, held)
    temperature = calibration.temperature if calibration else 1.0
    if len(session.splits.test):
        main = "test"
        parts["test"] = outcome.scores(session.splits.test)
        sections["test"] = evaluation_of(session, parts["test"], temperature, held)
    else:
        main = "cross-validation"
    if held is not None:
        part = "cross-validation" if main == "cross-validation" or not len(outcome.problem.val) else "validation"
        parts[part] = held
        key = part.replace("-", "_")
        sections[key] = evaluation_of(session, held, temperature, None)
        if outcome.held is not None and part == "cross-validation":
            sections[key] |= outcome.held.summary(session.num_groups(train))
    unseen = sorted(parts, key=lambda name: name == "test")
    by_part = {"train": outcome.scores(train)} | {name: parts[name] for name in unseen}
    probe_section, paired = None, None
    if outcome.tuned:
        probe_held = _probe_held_out(outcome)
        probe_calibration = calibration_of(session, probe_held)
        probe_temperature = probe_calibration.temperature if probe_calibration else 1.0
        if main == "test":
            probed: Scores | None = outcome.probe_scores(session.splits.test)
        else:
            probed = probe_held
        if probed is not None and main in parts:
            probe_section = {
                "evaluation": evaluation_of(session, probed, probe_temperature, probe_held),
                "facts": as_json(dict(outcome.probe.facts)),
            }
            if outcome.probe_held is not None and main == "cross-validation":
                num_groups = session.num_groups(outcome.probe_problem.train)
                probe_section["evaluation"] |= outcome.probe_held.summary(num_groups)
            name = outcome.recipe.strategy
            paired = paired_with_probe(session, parts[main], probed, (temperature, probe_temperature), name)
    return Evaluated(
        main=main, parts=parts, sections=sections, gaps=gaps_of(session, by_part), probe=probe_section,
        paired=paired, calibration=calibration,
    )  # fmt: skip


def held_out(outcome: Outcome) -> Scores | None:
    """Logits of examples that the model, or its twin of another fold, never saw."""
    if outcome.held is not None:
        return Scores(positions=outcome.problem.train, logits=outcome.held.logits)
    if not outcome.tuned:
        return _probe_held_out(outcome)
    if len(outcome.problem.val):
        return outcome.scores(outcome.problem.val)
    return None


def _probe_held_out(outcome: Outcome) -> Scores | None:
    if outcome.probe_held is not None:
        return Scores(positions=outcome.probe_problem.train, logits=outcome.probe_held.logits)
    if outcome.probe.out_of_fold is None:
        return None
    return Scores(positions=outcome.probe_problem.train, logits=outcome.probe.out_of_fold)


def write_model(
    outcome: Outcome, path: Path, calibration: Calibration | None, said: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, Mapping[str, Any]]:
    """Write the model to the folder `path`, with `said` among its facts.

    Returns how it compares with the stored activations it was trained on, and what `bundle.json` holds.
    """
    changed = dict(outcome.fitted.tensors)
    backbone = with_changes(outcome.backbone, changed, path / ".tuned.safetensors")
    model = Model(
        backbone=backbone,
        task=outcome.session.task,
        head={name.removeprefix("head/"): one for name, one in changed.items() if name.startswith("head/")},
        temperature=calibration.temperature if calibration else 1.0,
        unlike=None,
    )
    prefixes = (
        prefixes_of(model, device=outcome.device, backend=outcome.recipe.backend, threads=outcome.threads)
        if outcome.tuned
        else outcome.stored.prefixes
    )
    bundle = Bundle(model, {}, prefixes, outcome.threads)
    unlike = _unlike(outcome, bundle)
    bundle.model = model = replace(model, unlike=unlike)
    golden = golden_logits(bundle, Memo(cache_home() / "store"))
    facts = write_bundle(path, model, facts=said, golden=golden, backend=prefixes.backend_name())
    check = _checked(outcome, bundle)
    (path / ".tuned.safetensors").unlink(missing_ok=True)
    return check, facts


def _unlike(outcome: Outcome, bundle: Bundle) -> OODReference | None:
    """Class means and distances of examples outside the means: out of fold, or validation where there is some."""
    if bundle.model.task.answers == "records":  # it has no vector for each example
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
    """The model's own features of some examples: from stored states where there are any, else computed anew."""
    if outcome.problem.states.num_views is not None:
        found = outcome.fitted.features(outcome.problem, positions)
        result: np.ndarray = found[0 : len(positions)]
        return result
    return np.concatenate([bundle.features(batch) for batch in _prepared(outcome, positions)])


def _prepared(outcome: Outcome, positions: np.ndarray) -> Iterator[list[Record]]:
    """Plain records of some examples, in batches."""
    inputs = outcome.session.inputs(outcome.backbone.card, outcome.threads)
    records = ahead(lambda at: inputs.load(at, 0, 0)[0], positions.tolist(), size=64, workers=outcome.threads)
    yield from (batch for _, batch in records)


def _checked(outcome: Outcome, bundle: Bundle) -> dict[str, Any] | None:
    """Logits from stored activations against the assembled model on recomputed ones; for what is kept in float16."""
    kept = outcome.stored.wants.get(outcome.resolved.cut)
    if kept is None or kept.dtype != "float16":
        return None
    source = outcome.session.splits.test if len(outcome.session.splits.test) else outcome.problem.train
    positions = source[np.linspace(0, len(source) - 1, min(MAX_CHECKED, len(source))).astype(np.int64)]
    stored = outcome.fitted.logits(outcome.problem, positions)
    inputs = outcome.session.inputs(bundle.card, outcome.threads)
    pieces = [[inputs.load(at, 0, piece) for piece in range(inputs.pieces_of(at))] for at in positions.tolist()]
    recomputed = np.concatenate([bundle.raw(pieces[at : at + 64]) for at in range(0, len(pieces), 64)])
    error = None
    if bundle.model.task.answers != "records":
        error = float(np.abs(stored - recomputed).max()) / (float(np.abs(recomputed).max()) or 1.0)
    return {
        "examples": len(positions),
        "largest_error": error,  # of records labels alone are compared
        "changed_labels": _changed(bundle.model.task, stored, recomputed),
    }


def _changed(task: Task, stored: np.ndarray, recomputed: np.ndarray) -> int | None:
    """How many labels differ; None where labels are numbers, of which every one differs somewhat."""
    if task.answers == "values":
        return None
    pairs = zip(task.decode(task.outputs(stored)), task.decode(task.outputs(recomputed)), strict=True)
    return sum(one != other for one, other in pairs)


def _measured_facts(outcome: Outcome, evaluated: Evaluated) -> dict[str, Any]:
    section = evaluated.section
    return model_facts(
        outcome, evaluated.calibration, main=evaluated.main, metrics=section["metrics"] if section else {}
    )  # fmt: skip


def model_facts(
    outcome: Outcome, calibration: Calibration | None, *, main: str, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """What a model says of how it was made; `main` names the part that `metrics` come from."""
    return {
        "strategy": outcome.recipe.strategy,
        "cut": outcome.resolved.cut,
        "trained_on_examples": len(outcome.problem.train),
        "data": outcome.session.dataset.fingerprint,
        "main": main,
        "metrics": metrics,
        "calibration": as_json(calibration) if calibration else None,
    }


def _report(outcome: Outcome, evaluated: Evaluated, check: dict[str, Any] | None, phases: Phases) -> dict[str, Any]:
    session, card, resolved = outcome.session, outcome.backbone.card, outcome.resolved
    tensors = outcome.backbone.tensors()
    changed = {name for name in outcome.fitted.tensors if name not in outcome.fitted.frozen}
    trained = [stage for stage in card.stages if any(name.startswith(f"{stage}/") for name in changed)]
    return {
        "format": 1,
        "regraft": VERSION,
        "recipe": json.loads(json.dumps(asdict(outcome.recipe))),
        "run": {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seed": outcome.recipe.seed,
        },
        "backbone": {
            "name": card.name,
            "family": card.family,
            "variant": card.variant,
            "weights": card.weights,
            "digest": outcome.backbone.digest(),
            "licence": card.licence,
            "trained_on": card.trained_on,
            "source": card.source,
            "input_px": list(card.input_px),
            "parameters_total": int(sum(a.size for name, a in tensors.items() if _counted(name))),
            "parameters_trained": outcome.fitted.num_trained
            or int(sum(outcome.fitted.tensors[name].size for name in changed if _counted(name))),
        },
        "data": data_section(session, outcome.problem),
        "strategy": {
            "name": resolved.named.name,
            "preset": outcome.recipe.strategy,
            "cut": resolved.cut,
            "views": resolved.views,
            "options": asdict(resolved.options),
            "facts": as_json(dict(outcome.fitted.facts)),
            "curve": as_json(list(outcome.fitted.curve)),
            "trained_stages": trained,
            "frozen_stages": [stage for stage in card.stages if stage not in trained],
        },
        "main": evaluated.main,
        "evaluation": evaluated.sections,
        "gaps": evaluated.gaps,
        "probe": evaluated.probe,
        "paired": evaluated.paired,
        "calibration": as_json(evaluated.calibration) if evaluated.calibration else None,
        "store": {**outcome.stored.facts, "check": check},
        "phases": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in phases.seconds.items()],
        "peak_memory_bytes": peak_memory_bytes(),
        "environment": environment(outcome.device, outcome.threads, outcome.stored.facts["backend"]),
    }


def _counted(name: str) -> bool:
    """Whether a tensor counts as a parameter of the model: not the source classifier, not running statistics."""
    return not name.startswith("source/") and not name.endswith(("running_mean", "running_var"))


def _write(
    folder: RunFolder, outcome: Outcome, evaluated: Evaluated, report: dict[str, Any], bundle_facts: Mapping[str, Any]
) -> None:
    temperature = evaluated.calibration.temperature if evaluated.calibration else 1.0
    task, answers = outcome.session.task, answers_of(outcome.session, evaluated.parts, temperature)
    folder.write("predictions.csv", predictions_table(task.kind, task.classes, answers))
    folder.write("environment.json", report["environment"])
    folder.write("model/README.md", model_card(bundle_facts, report))
    pictures = write_plots(report, folder.path) if wanted(report) else []
    folder.write("report.md", render(report, pictures))
    folder.write("report.json", report)
