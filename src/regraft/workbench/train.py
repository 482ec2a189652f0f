"""Train: fit a model to all given examples, without an evaluation.

For callers who split the data themselves and evaluate on what they held out, as cross-validation in other libraries
does. Otherwise use `fit`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from regraft.data.dataset import Dataset
from regraft.recipe import Recipe
from regraft.values import Event
from regraft.workbench._evaluation import calibration_of
from regraft.workbench._finish import write_model
from regraft.workbench._machine import Phases
from regraft.workbench._training import Contender, Outcome, opened, problem_of, store_states, with_others


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained(Event):
    """The last event of `train`."""

    path: Path
    """Folder of the model."""
    tuned: bool
    """Whether more than the head was trained."""


def train(recipe: Recipe, dataset: Dataset, out: Path) -> Iterator[Event]:
    """Train on all of `dataset` (`recipe.data` is ignored) and write the model to the folder `out`.

    A validation split is held out only if the strategy stops early and there are enough examples. Yields events, the
    last one a `Trained`.

    Raises:
        DamagedData: a file cannot be decoded; none is left out.
        RegraftError: the recipe, weights or machine are not usable; the message says why and what to do.
    """
    with ExitStack() as closing:
        setup = yield from opened(recipe, dataset, Phases(lambda event: None), holds_out=False)
        setup = yield from with_others(setup)
        for one in setup.beside:
            closing.callback(one.close)
        stored = yield from store_states(setup)
        closing.callback(stored.close)
        problem = yield from problem_of(setup, stored, None)
        fitted = yield from setup.resolved.strategy.fit(problem, setup.resolved.options)
        model = Contender(problem=problem, fitted=fitted)
        outcome = Outcome(**vars(setup), stored=stored, model=model, probe=model)
        write_model(outcome, out, calibration_of(outcome.session, model.unseen()))
    yield Trained(path=out, tuned=outcome.tuned)
