"""Fit: from a recipe to a proven model in a run folder.

Read it top to bottom: data, weights, activations, training, proof, bundle, report.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from regraft.backbones.backbone import Backbone
from regraft.backbones.channels import open_for_channels
from regraft.contracts.linear import LinearTask
from regraft.contracts.strategy import Problem, fitted_last
from regraft.data.dataset import Dataset
from regraft.errors import BundleError, RunError
from regraft.recipe import Recipe, Seen
from regraft.strategies import probe as probing
from regraft.values import Event
from regraft.workbench._crossvalidate import Anew, HeldOut, cross_validate, cross_validate_probe
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._folder import RunFolder
from regraft.workbench._outcome import Outcome, finish
from regraft.workbench._resolve import Resolved, backbone_spec, check_asked, filled_in, named, resolve
from regraft.workbench._states import store_states
from regraft.workbench._timing import Phases
from regraft.workbench._training import needed_on_top, probe_problem_of, problem_of, trained
from regraft.workbench.session import Session, fitted_to, open_session


@dataclass(frozen=True, kw_only=True, eq=False)
class RunDone(Event):
    """The last event of a fit."""

    path: Path
    """The run's folder."""
    report: Mapping[str, Any]
    """What `report.json` holds."""

    def to_json(self) -> dict[str, Any]:
        """The path alone: the report lies beside the log."""
        return {"type": type(self).__name__, "path": str(self.path)}


def fit(recipe: Recipe, out: Path, *, resume: bool = False, dataset: Dataset | None = None) -> Iterator[Event]:
    """Run `recipe` in the folder `out`; yields events, the last one a `RunDone`.

    Killed at any moment and started again with `resume`, it goes on where it was. `dataset` are the recipe's data,
    where the caller has opened them already.

    Raises:
        RegraftError: what is wrong with the recipe, the data, the weights or the machine, and what to do.
    """
    strategy = named(recipe)
    with RunFolder(out, recipe, resume=resume) as folder:
        for event in _fit(recipe, folder, backbone_spec(recipe, strategy), dataset):
            folder.log(event)
            yield event


def _fit(recipe: Recipe, folder: RunFolder, spec: str, dataset: Dataset | None) -> Iterator[Event]:
    phases, threads, device = Phases(), num_threads(recipe.threads), choose_device(recipe.device)
    input_px = recipe.input_px or None
    opening = open_for_channels(spec, channels=recipe.channels, input_px=input_px, seed=recipe.seed)
    backbone = yield from phases.run("weights", opening)
    resolved = resolve(recipe, named(recipe), backbone.card)
    resolved = replace(resolved, cut=backbone.cut(resolved.cut))
    session = yield from phases.run("data", open_session(recipe, dataset, workers=threads))
    session.check(backbone.card)
    unfitted = backbone
    session, backbone = fitted_to(session, backbone)
    _check_seen(recipe.seen, backbone, session)
    check_asked(resolved, backbone, session.task)
    seen = Seen(backbone=backbone.digest(), data=session.dataset.fingerprint)
    recipe = replace(filled_in(recipe, resolved, backbone.card), task=session.task.kind, seen=seen)
    session = replace(session, recipe=recipe)
    folder.write_recipe(recipe)

    top = needed_on_top(session, resolved)
    storing = store_states(session, resolved, backbone, device=device, threads=threads, top=top)
    stored = yield from phases.run("activations", storing)
    try:
        problem = problem_of(session, resolved, backbone, stored, device=device, folder=folder.checkpoints)
        fitted = yield from phases.run("training", trained(problem, resolved, threads=threads))
        probe, probe_problem = fitted, problem
        if resolved.named.name != "probe":
            probe_problem = yield from probe_problem_of(session, problem)
            probe = yield from phases.run("probe", fitted_last(probing.fit(probe_problem, probing.Options())))
        held: tuple[HeldOut | None, HeldOut | None] = (None, None)
        if not session.tests:
            states_anew: Anew = partial(
                _anew, session=session, resolved=resolved, backbone=unfitted, device=device, threads=threads
            )
            anew = None if backbone is unfitted else states_anew
            validating = _cross_validate(recipe, resolved, problem, probe_problem, anew)
            held = yield from phases.run("cross-validation", validating)
        outcome = Outcome(
            session=session, resolved=resolved, backbone=backbone, stored=stored, problem=problem,
            probe_problem=probe_problem, fitted=fitted, probe=probe, held=held[0], probe_held=held[1],
            device=device, threads=threads,
        )  # fmt: skip
        report = yield from finish(outcome, folder, phases)
    finally:
        stored.close()
    folder.finish()
    yield RunDone(path=folder.path, report=report)


def _cross_validate(
    recipe: Recipe, resolved: Resolved, problem: Problem, probe_problem: Problem, anew: Anew | None
) -> Generator[Event, None, tuple[HeldOut | None, HeldOut | None]]:
    limit, is_probe = recipe.max_seconds or None, resolved.named.name == "probe"
    options = resolved.options if is_probe else probing.Options()
    if anew is None and isinstance(problem.task, LinearTask):
        probed = yield from cross_validate_probe(
            probe_problem, options, num_folds=recipe.folds, max_repeats=recipe.max_repeats, max_seconds=limit
        )
    else:  # states or heads are made anew in every fold, so one repeat has to do
        fit_probe = partial(probing.fit, options=options)
        probed = yield from cross_validate(probe_problem, fit_probe, num_folds=recipe.folds, anew=anew)
    if is_probe:
        return probed, probed
    tuned = yield from cross_validate(
        problem, lambda part: resolved.strategy.fit(part, resolved.options), num_folds=recipe.folds, anew=anew
    )
    return tuned, probed


def _anew(
    part: Problem,
    closing: ExitStack,
    *,
    session: Session,
    resolved: Resolved,
    backbone: Backbone,
    device: str,
    threads: int,
) -> Generator[Event, None, Problem]:
    """The problem of a fold on states whose preparation was fitted to its own training examples alone."""
    session, backbone = fitted_to(session, backbone, part.train)
    stored = yield from store_states(session, resolved, backbone, device=device, threads=threads)
    closing.callback(stored.close)
    states = stored.top if part.cut == "output" else stored.states
    return replace(part, backbone=backbone, task=session.task, states=states, top=stored.top)


def _check_seen(seen: Seen, backbone: Backbone, session: Session) -> None:
    if seen.backbone and seen.backbone != backbone.digest():
        raise BundleError(
            f"The recipe was run with backbone weights {seen.backbone[:12]}…; {backbone.card.name} here has "
            f"{backbone.digest()[:12]}….",
            fix="use the same weights, or delete `backbone` under [seen] to run it on these.",
        )
    if seen.data and seen.data != session.dataset.fingerprint:
        raise RunError(
            f"The recipe was run on data with fingerprint {seen.data[:12]}…; {session.dataset.root} has "
            f"{session.dataset.fingerprint[:12]}….",
            fix="use the same data, or delete `data` under [seen] to run it on these.",
        )
