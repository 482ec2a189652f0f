"""Evaluation of a trained model: cross-validation, metrics by split, calibration, and the probe for comparison.

If the data are too small for a test split, every example is predicted by a model that was not trained on it.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from regraft.contracts.metric import Sample, main_metric
from regraft.contracts.page import Finding
from regraft.contracts.strategy import Fitted, Problem
from regraft.errors import BadData
from regraft.evaluation.calibration import Calibration, calibrate
from regraft.evaluation.differences import PairedDifference, compare, difference, nadeau_bengio
from regraft.evaluation.report import Evaluation, evaluate
from regraft.folds import Folds
from regraft.identity import derive_seed
from regraft.reports.report import Beside, Gap, Probe
from regraft.strategies.probe import Options, features_of, fit, unadapted
from regraft.tasks.linear import LinearTask, linear
from regraft.tasks.linear import cross_validate as held_out
from regraft.values import Event, Notice, Progress, drained
from regraft.words import named
from regraft.workbench._training import NOBODY, Contender, Outcome, Scores, Setup, store_states
from regraft.workbench.session import NOT_POOLED, Session, fitted_to

Refit = Callable[[Problem, ExitStack], Generator[Event, None, Problem]]
"""(a fold's problem, exit stack for its states) -> the problem with a preparation fitted to the fold's training
examples."""

REPEAT_SECONDS = 20.0
"""Time limit after which no further repeat of a probe's cross-validation starts (our choice)."""


def cross_validated(
    setup: Setup, model: Contender, probe: Contender
) -> Generator[Event, None, tuple[Contender, Contender]]:
    """Cross-validate the model and its probe (which may be the same); return both with their out-of-fold scores."""
    resolved, recipe = setup.resolved, setup.session.recipe
    refit = None if setup.backbone is setup.unfitted else refitting(setup)
    options = resolved.options if resolved.is_probe else Options()
    if refit is None and isinstance(probe.problem.task, LinearTask):
        found = yield from cross_validate_probe(
            probe.problem, options, num_folds=recipe.folds, max_repeats=recipe.max_repeats,
            max_seconds=recipe.max_seconds or None,
        )  # fmt: skip
    else:  # the states, or the head, are made again in every fold, so one repeat has to do
        found = yield from cross_validate(
            probe.problem, lambda part: fit(part, options), num_folds=recipe.folds, refit=refit
        )
    probe = replace(probe, folds=found)
    if resolved.is_probe:
        return probe, probe
    tuned = yield from cross_validate(
        model.problem, lambda part: resolved.strategy.fit(part, resolved.options), num_folds=recipe.folds, refit=refit
    )
    return replace(model, folds=tuned), probe


def refitting(setup: Setup) -> Refit:
    """Fit the preparation to the training examples of a fold alone, and compute the fold's states with it."""

    def refit(part: Problem, closing: ExitStack) -> Generator[Event, None, Problem]:
        session, backbone = fitted_to(setup.session, setup.unfitted, part.train)
        stored = yield from store_states(replace(setup, session=session, backbone=backbone))
        closing.callback(stored.close)
        states = stored.top if part.cut == "output" else stored.states
        return replace(part, backbone=backbone, task=session.task, states=states, top=stored.top)

    return refit


def cross_validate_probe(
    problem: Problem, options: Options, *, num_folds: int, max_repeats: int, max_seconds: float | None
) -> Generator[Event, None, Scores | None]:
    """Repeated cross-validation by groups, with the regularisation chosen again in every training split; None if there
    are too few folds.

    Evaluates the probe that `options` describe: heads are trained on every view of the other folds' examples, and
    predict plain views.
    """
    task = linear(problem.task)
    dealt = [deal(problem, num_folds, repeat) for repeat in range(max_repeats)]
    fewest = min(folds.num_folds for folds in dealt)
    if fewest < 3:
        if fewest:
            yield Notice(text="Too few examples or groups for a nested cross-validation.", topic="evaluation")
        return None
    targets, began = problem.targets[problem.train], time.monotonic()
    first = np.zeros((len(targets), task.num_outputs), dtype=np.float32)
    main = main_metric(task.kind)
    scores: dict[int, list[float]] = {}
    total = sum(folds.num_folds for folds in dealt)
    num_views = problem.top.num_views or 1
    for found in held_out(
        task.solved_loss(targets, balanced=options.balanced),
        features_of(problem, problem.train, num_views),
        num_views=num_views,
        fold_of_repeats=[folds.of_example for folds in dealt],
        c=options.c,
        max_seconds=REPEAT_SECONDS if max_seconds is None else min(REPEAT_SECONDS, max_seconds),
    ):
        if found.repeat == 0:
            first[found.examples] = found.logits
        scores.setdefault(found.repeat, []).append(main.compute(targets[found.examples], task.outputs(found.logits)))
        done = sum(map(len, scores.values()))
        yield Progress(phase="cross-validation", done=done, total=total, seconds=time.monotonic() - began)
    table = np.full((len(scores), max(map(len, scores.values()))), np.nan)
    for repeat, row in scores.items():
        table[repeat, : len(row)] = row
    tested = dealt[0].of_example >= 0
    return Scores(positions=problem.train[tested], logits=first[tested], by_fold=table)


def cross_validate(
    problem: Problem,
    trained: Callable[[Problem], Generator[Event, None, Fitted]],
    *,
    num_folds: int,
    refit: Refit | None = None,
) -> Generator[Event, None, Scores | None]:
    """Cross-validate a model once: train it with `trained` for each fold on the others, using the folds of the probe's
    first repeat. `refit` fits the preparation per fold; None if it is the same for all folds. Return None if no fold
    can be tested."""
    dealt = deal(problem, num_folds, 0)
    fold_of, count = dealt.of_example, dealt.num_folds
    if not count:
        return None
    targets, began = problem.targets[problem.train], time.monotonic()
    raw, main, scores = list[np.ndarray](), main_metric(problem.task.kind), []
    for fold in range(count):
        held = fold_of == fold
        part = problem.part(f"fold-{fold}", train=problem.train[~held], val=NOBODY)
        with ExitStack() as closing:
            part = part if refit is None else (yield from refit(part, closing))
            found = drained(trained(part)).logits(part, problem.train[held])
        raw.append(found)
        scores.append(main.compute(targets[held], problem.task.outputs(found)))
        spent = time.monotonic() - began
        yield Progress(
            phase="cross-validation",
            done=fold + 1,
            total=count,
            seconds=spent,
            seconds_left=spent / (fold + 1) * (count - fold - 1),
            facts={main.name: scores[-1]},
        )
    in_order = np.concatenate([np.flatnonzero(fold_of == fold) for fold in range(count)])
    logits, positions = np.concatenate(raw)[np.argsort(in_order)], problem.train[np.sort(in_order)]
    return Scores(positions=positions, logits=logits, by_fold=np.array([scores]))


def deal(problem: Problem, num_folds: int, repeat: int) -> Folds:
    """Return the folds of the training examples for one repeat."""
    seed = derive_seed(problem.seed, "cross-validation", repeat)
    targets, groups = problem.targets[problem.train], problem.groups[problem.train]
    return problem.task.deal(targets, groups, num_folds, seed)


def untested(problem: Problem, num_folds: int, *, grouped: bool) -> str:
    """Describe what cross-validation cannot test, and what can be claimed nevertheless; empty if it tests every
    example.

    A class (a label, a second value) that occurs in one group only cannot be predicted without that group. `grouped`:
    whether the user gave groups; otherwise they are sets of near-duplicates.
    """
    task, targets, groups = problem.task, problem.targets[problem.train], problem.groups[problem.train]
    out = deal(problem, num_folds, 0).of_example < 0
    if not out.any():
        return ""
    columns = targets[:, None] == np.arange(len(task.classes)) if task.exclusive else targets
    lost = [
        name
        for name, column in zip(task.classes, columns.T, strict=True)
        if len(np.unique(column)) > 1 and len(np.unique(column[~out])) < 2
    ]
    unit, outputs = "group" if grouped else "set of near copies", task.words().outputs.split(",")[0]
    if not out.all():
        few = f"have {named(lost)}" if lost else "are identical"
        claim = f"for the other {outputs}, and nothing for {named(lost)}" if lost else "for the others"
        return (
            f"Too few {unit}s {few}: {int(out.sum())} of {len(out)} examples were used for training in every fold "
            f"and never tested. The figure is still valid {claim}."
        )
    why = f"Too few {unit}s have {named(lost)}: without all of them in training, a model cannot recognise it."
    if task.exclusive and all(len(np.unique(groups[column])) < 2 for column in columns.T):
        why = (
            f"Groups and classes coincide: each class is one {unit}, so a model that has not seen the {unit} has never "
            "seen the class."
        )
    return (
        f"{why} There is no figure: the model was trained on these examples, but its accuracy on others is "
        f"unknown. Add {unit}s, or leave out the groups if they do not mark related examples."
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Results of a run."""

    main: str
    """Split of the main metric."""
    scores: Mapping[str, Scores]
    """Outputs on unseen examples, by split."""
    evaluation: Mapping[str, Evaluation]
    """Evaluation, by split."""
    gaps: tuple[Gap, ...]
    probe: Probe | None
    paired: PairedDifference | None
    calibration: Calibration | None
    untested: str = ""
    """What cross-validation could not test, and what can be claimed nevertheless."""
    baselines: tuple[Beside, ...] = ()

    @property
    def section(self) -> Evaluation | None:
        """The main evaluation; None if there is none."""
        return self.evaluation.get(self.main)

    @property
    def surer(self) -> str:
        """Advice if the log loss is above the probe's, judged by its interval; else empty."""
        own = self.section and self.section.metrics.get("log_loss")
        probes = self.probe and self.probe.evaluation.metrics.get("log_loss")
        if not own or not probes or (own.low or 0.0) <= probes.value:
            return ""
        return (
            f" Their log loss is {own.value:.3f}, that of the linear probe {probes.value:.3f}: if probabilities "
            "matter, use --strategy probe, or provide a validation split of at least fifty examples."
        )


def evaluated(outcome: Outcome) -> Results:
    """Evaluate the model, or its cross-validation counterparts, on all unseen examples, and compare it with the
    probe."""
    session, model, held = outcome.session, outcome.model, outcome.model.unseen()
    calibration = model.fitted.calibration or calibration_of(session, held)
    main = "test" if session.tests else "cross-validation"
    scores = {"test": model.scores(session.splits.test)} if session.tests else {}
    if held is not None:
        scores["cross-validation" if not session.tests or not len(model.problem.val) else "validation"] = held
    found = {
        split: _evaluation(session, one, calibration, held if split == "test" else None)
        for split, one in scores.items()
    }
    unseen = sorted(scores, key=lambda name: name == "test")
    step = -(-len(model.problem.train) // 500) if session.task.generates else 1  # generating takes long
    by_split = {"train": model.scores(model.problem.train[::step])} | {name: scores[name] for name in unseen}
    probe, paired = None, None
    if not outcome.resolved.is_probe:
        probe, paired = _beside(outcome, scores.get(main), calibration)
    return Results(
        main=main, scores=scores, evaluation=found, gaps=_gaps(session, by_split), probe=probe, paired=paired,
        calibration=calibration, baselines=_baselines(outcome, scores.get("test"), calibration),
        untested="" if session.tests else
        untested(model.problem, session.recipe.folds, grouped=session.dataset.groups is not None),
    )  # fmt: skip


def _baselines(outcome: Outcome, tested: Scores | None, calibration: Calibration | None) -> tuple[Beside, ...]:
    """Evaluate baselines on the test split: methods trained on the same examples, and the network before training."""
    session, train = outcome.session, outcome.session.learnable
    if tested is None:
        return ()
    at, made = tested.positions, unadapted(outcome.probe.problem, tested.positions)
    if session.modality.baselines:
        from regraft.contracts.baseline import BASELINES

        known, asked = ([session.dataset.examples[one].contents for one in some.tolist()] for some in (train, at))
        told = (known, session.targets[train], len(session.task.classes), session.recipe.seed)
        suited = (one for one in map(BASELINES.get, session.modality.baselines) if one.suits(session.task, len(train)))
        made |= {one.title: one.fitted(*told)(asked) for one in suited}
    ours = session.task.outputs(tested.logits, temperature_of(calibration))
    return tuple(
        Beside(title=title, evaluation=_evaluation(session, Scores(positions=at, logits=theirs), None, None),
               paired=_paired(session, at, ours, session.task.outputs(theirs), ("the model", title)))
        for title, theirs in made.items()
    )  # fmt: skip


def calibration_of(session: Session, held: Scores | None) -> Calibration | None:
    """Fit the temperature on logits of held-out examples; None if there are none, or no probabilities."""
    if held is None or len(held.positions) < 10:
        return None
    stated = session.task.stated(held.logits, session.targets[held.positions])
    if stated is None:
        return None
    logits, truth, of_example = stated
    return calibrate(logits, truth, groups=session.splits.groups[held.positions][of_example], seed=session.recipe.seed)


def findings_of(outcome: Outcome, found: Results) -> tuple[Finding, ...]:
    """Run the strategy's own check on the test split, before anything is written.

    Raises:
        BadData: the model violates the strategy's guarantee.
    """
    check, scores = outcome.model.fitted.check, found.scores.get("test")
    if check is None or scores is None:
        return ()
    ids = [outcome.session.dataset.examples[at].id for at in scores.positions.tolist()]
    finding = check(_sample(outcome.session, scores, temperature_of(found.calibration)), ids)
    if finding.severity == "stop":
        raise BadData(finding.message, fix=finding.fix)
    return (finding,)


def temperature_of(calibration: Calibration | None) -> float:
    """Return the temperature that logits are divided by."""
    return calibration.temperature if calibration else 1.0


def _beside(
    outcome: Outcome, tuned: Scores | None, calibration: Calibration | None
) -> tuple[Probe | None, PairedDifference | None]:
    """Evaluate the linear probe on the examples of the main metric, and its difference from the model."""
    session, task, held = outcome.session, outcome.session.task, outcome.probe.unseen()
    probed = outcome.probe.scores(session.splits.test) if session.tests else held
    if tuned is None or probed is None:
        return None, None
    own = calibration_of(session, held)
    evaluation = _evaluation(session, probed, own, held if session.tests else None)
    if not session.tests and not session.pools:
        return Probe(evaluation=evaluation, facts=dict(outcome.probe.fitted.facts)), None
    tuned = _among(tuned, probed.positions)  # folds dealt from two seeds may leave out different examples
    probed = _among(probed, tuned.positions)
    ours, theirs = (task.outputs(one.logits, temperature_of(by)) for one, by in ((tuned, calibration), (probed, own)))
    names = (outcome.recipe.strategy, f"the {task.words().probe}")
    paired = _paired(session, tuned.positions, ours, theirs, names)
    return Probe(evaluation=evaluation, facts=dict(outcome.probe.fitted.facts)), paired


def _paired(
    session: Session, at: Int[np.ndarray, "m"], ours: np.ndarray, theirs: np.ndarray, names: tuple[str, str]
) -> PairedDifference:
    """Compare two models on the examples at these positions by the main metric."""
    return compare(
        session.targets[at], ours, theirs, groups=session.user_groups(at), metric=main_metric(session.task.kind).name,
        names=names, outputs=session.task.classes, seed=session.recipe.seed,
    )  # fmt: skip


def _among(scores: Scores, positions: Int[np.ndarray, "m"]) -> Scores:
    """Select the scores of these examples."""
    kept = np.isin(scores.positions, positions)
    return Scores(positions=scores.positions[kept], logits=scores.logits[kept])


def _evaluation(session: Session, scores: Scores, calibration: Calibration | None, held: Scores | None) -> Evaluation:
    """Compute all metrics with intervals, and the mean over folds if there are any; decision thresholds are chosen on
    `held`."""
    kind, temperature = session.task.kind, temperature_of(calibration)
    tested = _sample(session, scores, temperature)
    found = evaluate(
        tested.targets,
        tested.outputs,
        session.task.classes,
        kind=kind,
        trained_on=session.targets[session.splits.train],
        groups=tested.groups,
        held=None if held is None else _sample(session, held, temperature),
        rules=session.rules,
        seed=session.recipe.seed,
    )
    if scores.by_fold is None:
        return found
    repeats, folds = scores.by_fold.shape
    mean = nadeau_bengio(
        scores.by_fold, bounds=main_metric(kind).range, num_groups=session.num_groups(scores.positions)
    )
    if not session.pools:
        found = replace(found, metrics={found.main_metric: mean}, notes=(*found.notes, NOT_POOLED))
    return replace(found, repeats=repeats, folds=folds, mean_of_folds=mean)


def _sample(session: Session, scores: Scores, temperature: float = 1.0) -> Sample:
    return Sample(
        targets=session.targets[scores.positions],
        outputs=session.task.outputs(scores.logits, temperature),
        groups=session.user_groups(scores.positions),
    )


def _gaps(session: Session, by_split: Mapping[str, Scores]) -> tuple[Gap, ...]:
    """Return how the main metric drops from training examples to unseen ones."""
    metric, seed = main_metric(session.task.kind).name, session.recipe.seed
    samples = {name: _sample(session, scores) for name, scores in by_split.items()}
    return tuple(
        Gap(from_split=one, to_split=other, metric=metric,
            worse_by=difference(samples[one], samples[other], metric=metric, seed=seed))
        for one, other in pairwise(samples)
    )  # fmt: skip
