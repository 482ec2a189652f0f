"""Fit: from a recipe to an evaluated model in a run folder.

Steps: data and network, activations, training, probe baseline, cross-validation if there is no test set, then `finish`:
evaluation, bundle, report. Each step is a generator; `phases.run` logs its events, times it and returns its result.
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
    """Run `recipe` in the folder `out`, yielding events; the last one is a `RunDone`.

    An interrupted fit continues with `resume=True`. `dataset` is the recipe's data, if already opened.

    Raises:
        RegraftError: the recipe, data, weights or machine are not usable; the message says why and what to do.
    """
    backbone_spec(recipe)  # reject an invalid request before creating the folder
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
        if not resolved.is_probe:  # a fine-tuned model is always compared with the linear probe
            beside = yield from phases.run("probe", probe_problem_of(session, problem))
            solved = yield from phases.run("probe", probing.fit_beside(beside, problem))
            probe = Contender(problem=beside, fitted=solved)
        if not session.tests:  # no test split: evaluate each example with a model that was not trained on it
            model, probe = yield from phases.run("cross-validation", cross_validated(setup, model, probe))
        outcome = Outcome(**vars(setup), stored=stored, model=model, probe=probe)
        report = yield from phases.run("", finish(outcome, folder, phases, advice))
        folder.finish()
        done = RunDone(path=folder.path, report=report)
        folder.log(done)
        yield done
