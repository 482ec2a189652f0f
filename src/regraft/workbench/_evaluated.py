"""The numbers of a fitted model: evaluation by split, calibration, the probe beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from regraft.contracts.finding import Finding
from regraft.contracts.metric import Sample, main_metric
from regraft.errors import BadData
from regraft.evaluation.calibration import Calibration, calibrate
from regraft.evaluation.differences import PairedDifference, compare, difference
from regraft.evaluation.report import Evaluation, evaluate
from regraft.reports.report import Gap, Probe
from regraft.workbench._crossvalidate import HeldOut, untested
from regraft.workbench._outcome import Outcome, Scores
from regraft.workbench.session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """The numbers of a run."""

    main: str
    """Where the main figure comes from."""
    scores: Mapping[str, Scores]
    """What the model said of the examples that it had not seen, by split."""
    evaluation: Mapping[str, Evaluation]
    """What that is worth."""
    gaps: tuple[Gap, ...]
    probe: Probe | None
    paired: PairedDifference | None
    calibration: Calibration | None
    untested: str = ""
    """What cross-validation could not test, and what can be claimed all the same."""

    @property
    def section(self) -> Evaluation | None:
        """The main evaluation; None where there is none."""
        return self.evaluation.get(self.main)

    @property
    def surer(self) -> str:
        """What to do where the log loss lies above the probe's, by its interval; else nothing."""
        own = self.section and self.section.metrics.get("log_loss")
        probes = self.probe and self.probe.evaluation.metrics.get("log_loss")
        if not own or not probes or (own.low or 0.0) <= probes.value:
            return ""
        return (
            f" Their log loss is {own.value:.3f}, the linear probe's {probes.value:.3f}: where probabilities matter, "
            "use --strategy probe, or give fifty examples or more as a validation split."
        )


def evaluated(outcome: Outcome) -> Evaluated:
    """Evaluate the model on everything that it, or its twin of another fold, never saw; and the probe beside it."""
    session, train, held = outcome.session, outcome.problem.train, held_out(outcome)
    calibration = outcome.fitted.calibration or calibration_of(session, held)
    scores, found = dict[str, Scores](), dict[str, Evaluation]()
    if session.tests:
        scores["test"] = outcome.scores(session.splits.test)
        found["test"] = _evaluation(session, scores["test"], calibration, held)
    main = "test" if session.tests else "cross-validation"
    if held is not None:
        split = "cross-validation" if main == "cross-validation" or not len(outcome.problem.val) else "validation"
        scores[split] = held
        found[split] = _evaluation(session, held, calibration, None)
        if split == "cross-validation":
            found[split] = _with_folds(found[split], outcome.held, session.num_groups(held.positions))
    unseen = sorted(scores, key=lambda name: name == "test")
    by_split = {"train": outcome.scores(train)} | {name: scores[name] for name in unseen}
    probe, paired = None, None
    if not outcome.resolved.is_probe:
        probe, paired = _beside(outcome, main, scores.get(main), calibration)
    return Evaluated(
        main=main, scores=scores, evaluation=found, gaps=_gaps(session, by_split), probe=probe, paired=paired,
        calibration=calibration,
        untested="" if session.tests else untested(
            outcome.problem, session.recipe.folds, grouped=session.dataset.groups is not None
        ),
    )  # fmt: skip


def held_out(outcome: Outcome) -> Scores | None:
    """Logits of examples that the model, or its twin of another fold, never saw."""
    if outcome.held is not None:
        return Scores(positions=outcome.problem.train[outcome.held.tested], logits=outcome.held.logits)
    if outcome.resolved.is_probe:
        return _probe_held_out(outcome)
    return outcome.scores(outcome.problem.val) if len(outcome.problem.val) else None


def calibration_of(session: Session, held: Scores | None) -> Calibration | None:
    """The temperature from logits of examples the model never saw; None where there are none, or no probabilities."""
    if held is None or len(held.positions) < 10:
        return None
    stated = session.task.stated(held.logits, session.targets[held.positions])
    if stated is None:
        return None
    logits, truth, of_example = stated
    return calibrate(logits, truth, groups=session.splits.groups[held.positions][of_example], seed=session.recipe.seed)


def findings_of(outcome: Outcome, found: Evaluated) -> tuple[Finding, ...]:
    """What the strategy's own check says of the test split, before anything is written.

    Raises:
        BadData: the model does not keep what the strategy promises.
    """
    check, scores = outcome.fitted.check, found.scores.get("test")
    if check is None or scores is None:
        return ()
    ids = [outcome.session.dataset.examples[at].id for at in scores.positions.tolist()]
    finding = check(_sample(outcome.session, scores, temperature_of(found.calibration)), ids)
    if finding.severity == "stop":
        raise BadData(finding.message, fix=finding.fix)
    return (finding,)


def temperature_of(calibration: Calibration | None) -> float:
    """What logits are divided by."""
    return calibration.temperature if calibration else 1.0


def _beside(
    outcome: Outcome, main: str, tuned: Scores | None, calibration: Calibration | None
) -> tuple[Probe | None, PairedDifference | None]:
    """The linear probe on the examples of the main figure, and the difference from it."""
    session, task, held = outcome.session, outcome.session.task, _probe_held_out(outcome)
    probed = outcome.probe_scores(session.splits.test) if main == "test" else held
    if tuned is None or probed is None:
        return None, None
    own = calibration_of(session, held)
    found = _evaluation(session, probed, own, held)
    tuned = _among(tuned, probed.positions)
    probed = _among(probed, tuned.positions)
    if main == "cross-validation":
        found = _with_folds(found, outcome.probe_held, session.num_groups(probed.positions))
    paired = compare(
        session.targets[tuned.positions],
        task.outputs(tuned.logits, temperature_of(calibration)),
        task.outputs(probed.logits, temperature_of(own)),
        groups=session.user_groups(tuned.positions),
        metric=main_metric(task.kind).name,
        names=(outcome.recipe.strategy, "the linear probe"),
        outputs=task.classes,
        seed=session.recipe.seed,
    )
    return Probe(evaluation=found, facts=dict(outcome.probe.facts)), paired


def _probe_held_out(outcome: Outcome) -> Scores | None:
    train, held, found = outcome.probe_problem.train, outcome.probe_held, outcome.probe.out_of_fold
    if held is not None:
        return Scores(positions=train[held.tested], logits=held.logits)
    if found is None:
        return None
    known = ~np.isnan(found).any(axis=1)
    return Scores(positions=train[known], logits=found[known])


def _among(scores: Scores, positions: Int[np.ndarray, "m"]) -> Scores:
    """Those of these examples: folds dealt from two seeds may leave out different ones."""
    kept = np.isin(scores.positions, positions)
    return Scores(positions=scores.positions[kept], logits=scores.logits[kept])


def _with_folds(found: Evaluation, held: HeldOut | None, num_groups: int | None) -> Evaluation:
    """With the main metric's mean over the folds, where these were repeated."""
    if held is None:
        return found
    repeats, folds = held.scores.shape
    return replace(found, repeats=repeats, folds=folds, mean_of_folds=held.mean(num_groups))


def _evaluation(session: Session, scores: Scores, calibration: Calibration | None, held: Scores | None) -> Evaluation:
    """All metrics with intervals; decision thresholds are chosen on `held`."""
    temperature = temperature_of(calibration)
    tested = _sample(session, scores, temperature)
    return evaluate(
        tested.targets,
        tested.outputs,
        session.task.classes,
        kind=session.task.kind,
        trained_on=session.targets[session.splits.train],
        groups=tested.groups,
        held=None if held is None else _sample(session, held, temperature),
        rules=session.rules,
        seed=session.recipe.seed,
    )


def _sample(session: Session, scores: Scores, temperature: float = 1.0) -> Sample:
    return Sample(
        targets=session.targets[scores.positions],
        outputs=session.task.outputs(scores.logits, temperature),
        groups=session.user_groups(scores.positions),
    )


def _gaps(session: Session, by_split: Mapping[str, Scores]) -> tuple[Gap, ...]:
    """How the main metric worsens from the training examples to those the model never saw."""
    metric, seed = main_metric(session.task.kind).name, session.recipe.seed
    samples = {name: _sample(session, scores) for name, scores in by_split.items()}
    return tuple(
        Gap(from_split=one, to_split=other, metric=metric,
            worse_by=difference(samples[one], samples[other], metric=metric, seed=seed))
        for one, other in pairwise(samples)
    )  # fmt: skip
