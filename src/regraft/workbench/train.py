"""Train: a model from all the examples that are given, without an evaluation.

For those who split the data themselves and evaluate the model on what they held out, as cross-validation in other
libraries does. Everybody else wants `fit`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regraft.data.dataset import Dataset
from regraft.recipe import Recipe
from regraft.values import Event
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._evaluated import calibration_of, held_out
from regraft.workbench._model import write_model
from regraft.workbench._outcome import Outcome
from regraft.workbench._resolve import backbone_spec, check_asked, named
from regraft.workbench._states import store_states
from regraft.workbench._training import open_backbone, problem_of
from regraft.workbench.session import fitted_to, open_session


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained(Event):
    """The last event of a training."""

    path: Path
    """The folder of the model."""
    tuned: bool
    """Whether anything but the head was trained."""


def train(recipe: Recipe, dataset: Dataset, out: Path) -> Iterator[Event]:
    """Train on all of `dataset`, whatever `recipe.data` says, and write the model to the folder `out`.

    Only where the strategy stops early, and enough examples are there, is a part of them kept from training: to say
    when. Yields events, the last one a `Trained`.

    Raises:
        DamagedData: a file cannot be decoded; none is left out.
        RegraftError: what is wrong with the recipe, the weights or the machine, and what to do.
    """
    threads, device = num_threads(recipe.threads), choose_device(recipe.device)
    resolved, backbone = yield from open_backbone(recipe, backbone_spec(recipe, named(recipe)))
    session = yield from open_session(recipe, dataset, holds_out=False, workers=threads)
    session.check(backbone.card)
    session, backbone = fitted_to(session, backbone)
    check_asked(resolved, backbone, session.task)
    stored = yield from store_states(session, resolved, backbone, device=device, threads=threads)
    try:
        problem = yield from problem_of(
            session, resolved, backbone, stored, device=device, threads=threads, folder=None
        )
        fitted = yield from resolved.strategy.fit(problem, resolved.options)
        outcome = Outcome(
            session=session, resolved=resolved, backbone=backbone, stored=stored, problem=problem,
            probe_problem=problem, fitted=fitted, probe=fitted, held=None, probe_held=None, device=device,
            threads=threads,
        )  # fmt: skip
        write_model(outcome, out, calibration_of(session, held_out(outcome)))
    finally:
        stored.close()
    yield Trained(path=out, tuned=outcome.tuned)
