"""Fit: from a recipe to a proven model in a run folder.

Read it top to bottom: data, weights, activations, training, proof, bundle, report.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regraft.data.dataset import Dataset
from regraft.recipe import Recipe, Seen
from regraft.reports.report import Report
from regraft.strategies import probe as probing
from regraft.values import Event
from regraft.workbench._beside import open_data
from regraft.workbench._crossvalidate import HeldOut, cross_validated, refitting
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._finish import finish
from regraft.workbench._folder import RunFolder
from regraft.workbench._outcome import Outcome
from regraft.workbench._resolve import backbone_spec, check_asked, check_seen, filled_in, named
from regraft.workbench._states import store_states
from regraft.workbench._timing import Phases
from regraft.workbench._training import needed_on_top, open_backbone, probe_problem_of, problem_of
from regraft.workbench.session import fitted_to


@dataclass(frozen=True, kw_only=True, eq=False)
class RunDone(Event):
    """The last event of a fit."""

    path: Path
    """The run's folder."""
    report: Report
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
    spec = backbone_spec(recipe, named(recipe))
    with RunFolder(out, recipe, resume=resume) as folder:
        phases, threads, device = Phases(folder.log), num_threads(recipe.threads), choose_device(recipe.device)
        resolved, backbone = yield from phases.run("weights", open_backbone(recipe, spec))
        session = yield from phases.run("data", open_data(recipe, dataset, workers=threads))
        session.check(backbone.card)
        unfitted = backbone
        session, backbone = fitted_to(session, backbone)
        check_seen(recipe.seen, backbone, session.dataset)
        check_asked(resolved, backbone, session.task)
        seen = Seen(backbone=backbone.digest(), data=session.dataset.fingerprint)
        recipe = replace(filled_in(recipe, resolved, backbone.card), task=session.task.kind, seen=seen)
        session = replace(session, recipe=recipe)
        folder.write_recipe(recipe)

        top = needed_on_top(session, resolved)
        storing = store_states(session, resolved, backbone, device=device, threads=threads, top=top)
        stored = yield from phases.run("activations", storing)
        try:
            posing = problem_of(
                session, resolved, backbone, stored, device=device, threads=threads, folder=folder.checkpoints
            )
            problem = yield from phases.run("training", posing)
            fitted = yield from phases.run("training", resolved.strategy.fit(problem, resolved.options))
            probe, probe_problem = fitted, problem
            if not resolved.is_probe:
                probe_problem = yield from phases.run("probe", probe_problem_of(session, problem))
                probe = yield from phases.run("probe", probing.fit(probe_problem, probing.Options()))
            held: tuple[HeldOut | None, HeldOut | None] = (None, None)
            if not session.tests:
                refit = refitting(session, resolved, unfitted, device=device, threads=threads)
                validating = cross_validated(
                    resolved, problem, probe_problem, recipe, refit if backbone is not unfitted else None
                )
                held = yield from phases.run("cross-validation", validating)
            outcome = Outcome(
                session=session, resolved=resolved, backbone=backbone, stored=stored, problem=problem,
                probe_problem=probe_problem, fitted=fitted, probe=probe, held=held[0], probe_held=held[1],
                device=device, threads=threads,
            )  # fmt: skip
            report = yield from phases.run("", finish(outcome, folder, phases))
        finally:
            stored.close()
        folder.finish()
        done = RunDone(path=folder.path, report=report)
        folder.log(done)
        yield done
