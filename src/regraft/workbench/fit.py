"""Fit: from a recipe to a proven model in a run folder.

Read it top to bottom: network and data, activations, training, proof, bundle, report. Each part is a generator of
events; `phases.run` logs them, times the part and returns what it returns.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from regraft.data.dataset import Dataset
from regraft.recipe import Recipe
from regraft.strategies import probe as probing
from regraft.values import Event
from regraft.workbench._evaluation import cross_validated
from regraft.workbench._finish import finish
from regraft.workbench._machine import Phases
from regraft.workbench._training import (
    Contender,
    Outcome,
    opened,
    probe_problem_of,
    problem_of,
    store_states,
    with_others,
)
from regraft.workbench.recipes import AUTO, backbone_spec
from regraft.workbench.run import RunDone, RunFolder


def fit(recipe: Recipe, out: Path, *, resume: bool = False, dataset: Dataset | None = None) -> Iterator[Event]:
    """Run `recipe` in the folder `out`; yields events, the last one a `RunDone`.

    Killed at any moment and started again with `resume`, it goes on where it was. `dataset` are the recipe's data,
    where the caller has opened them already.

    Raises:
        RegraftError: what is wrong with the recipe, the data, the weights or the machine, and what to do.
    """
    backbone_spec(recipe)  # refuses what makes no sense before there is a folder
    with RunFolder(out, recipe, resume=resume) as folder, ExitStack() as closing:
        phases, advice = Phases(folder.log), None
        if recipe.strategy == AUTO:
            from regraft.workbench.advise import taken

            recipe, advice = yield from phases.run("advice", taken(recipe, folder.path / "advice", dataset))
        setup = yield from opened(recipe, dataset, phases)
        folder.write_recipe(setup.session.recipe)

        setup = yield from phases.run("activations", with_others(setup))
        for one in setup.beside:
            closing.callback(one.close)
        resolved, session = setup.resolved, setup.session
        stored = yield from phases.run("activations", store_states(setup))
        closing.callback(stored.close)
        problem = yield from phases.run("training", problem_of(setup, stored, folder.checkpoints))
        fitted = yield from phases.run("training", resolved.strategy.fit(problem, resolved.options))
        model = probe = Contender(problem=problem, fitted=fitted)
        if not resolved.is_probe:  # a tuned model is always shown beside the linear probe of the untouched network
            beside = yield from phases.run("probe", probe_problem_of(session, problem))
            solved = yield from phases.run("probe", probing.fit_beside(beside, problem))
            probe = Contender(problem=beside, fitted=solved)
        if not session.tests:  # few examples: every one is judged by a model that never saw it
            model, probe = yield from phases.run("cross-validation", cross_validated(setup, model, probe))
        outcome = Outcome(**vars(setup), stored=stored, model=model, probe=probe)
        report = yield from phases.run("", finish(outcome, folder, phases, advice))
        folder.finish()
        done = RunDone(path=folder.path, report=report)
        folder.log(done)
        yield done
