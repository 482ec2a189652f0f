"""A linear probe on a backbone's features, in which every example is judged by a head that never saw it: for audits and
advice.

Letters: k examples, d features, c outputs.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.activations.fill import Inputs
from regraft.activations.runner import Prefixes
from regraft.backbones.backbone import Backbone
from regraft.contracts.task import Task
from regraft.data.scan import Scanned
from regraft.data.splits import Splits, clusters, joined
from regraft.errors import BadRequest
from regraft.recipe import Recipe
from regraft.strategies import probe as probing
from regraft.tasks.linear import LinearTask
from regraft.values import Event
from regraft.workbench._machine import choose_device, num_threads
from regraft.workbench._training import NOBODY, Setup, problem_of, store_states
from regraft.workbench.recipes import resolve
from regraft.workbench.session import Session, fitted_to


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """What a backbone makes of some examples, and what the probe says of them."""

    features: Float[np.ndarray, "k d"]
    """Pooled features."""
    outputs: Float[np.ndarray, "k c"] | None
    """Probabilities or values of each by a head that saw neither it nor its group; nan where there is no such head.
    None where all are of one group or of one class."""
    groups: Int[np.ndarray, " k"]
    """What stayed in one fold: the user's groups joined with copies."""
    inputs: Inputs
    """How examples become records."""
    prefixes: Prefixes
    """What runs the backbone."""
    c: float
    """The strength of the penalty that was chosen, inverted; 0 without a probe."""


def probed(
    recipe: Recipe, backbone: Backbone, scanned: Scanned, task: Task, targets: Shaped[np.ndarray, "n ..."],
    positions: Int[np.ndarray, " k"],
) -> Generator[Event, None, Probed]:  # fmt: skip
    """Features of the examples at `positions`, from the store where they are there, and the probe on them.

    Raises:
        BadData: the backbone cannot take them.
        BadRequest: the task reads no single vector.
    """
    if not isinstance(task, LinearTask):
        raise BadRequest(f"A {task.kind} task reads no single vector.", fix="choose a strategy by `regraft sweep`.")
    groups = joined(clusters(scanned), scanned.dataset.groups)
    session = Session(
        recipe=replace(recipe, strategy="probe", cut="", views=1, options={}), dataset=scanned.dataset, scanned=scanned,
        splits=Splits(train=positions, val=NOBODY, test=NOBODY, groups=groups, drawn_by_us=True, notes=()),
        task=task.prepared(targets[positions]), targets=targets,
    )  # fmt: skip
    yield from session.check(backbone.card)
    session, fitted = fitted_to(session, backbone, positions)
    threads = num_threads(recipe.threads)
    setup = Setup(
        session=session, resolved=resolve(session.recipe, fitted.card), backbone=fitted, unfitted=backbone,
        device=choose_device(recipe.device), threads=threads,
    )  # fmt: skip
    outputs, c = None, 0.0
    with closing((yield from store_states(setup))) as stored:
        problem = yield from problem_of(setup, stored, None)
        features = np.asarray(probing.features_of(problem, positions)[:])
        several = len(np.unique(groups[positions])) > 1
        if several and not (task.exclusive and len(np.unique(targets[positions])) < 2):
            solved = yield from probing.fit(problem, probing.Options())
            c = float(solved.facts["c"])
            if solved.out_of_fold is not None:
                outputs = session.task.outputs(solved.out_of_fold)
    return Probed(
        features=features,
        outputs=outputs,
        groups=groups[positions],
        inputs=session.inputs(fitted.card, threads),
        prefixes=stored.prefixes,
        c=c,
    )
