"""Precision of the frozen stages, if the recipe requests another than float32."""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from regraft.activations.openvino import precision_of
from regraft.values import Event, Notice
from regraft.workbench._training import NOBODY, Rows, Setup, below, rows_of


def decided(setup: Setup) -> Generator[Event, None, Setup]:
    """Return the setup with the precision of the frozen stages decided and written into its recipe."""
    cut, recipe = setup.resolved.cut, setup.session.recipe
    cuts = (cut, "output") if cut not in ("input", "output") and setup.resolved.views else ("output",)
    precision, why = precision_of(below(setup), cuts, recipe.precision)
    yield Notice(text=why, topic="precision")
    return replace(setup, session=replace(setup.session, recipe=replace(recipe, precision=precision)))


def only_trained_on(setup: Setup, rows: Rows) -> tuple[Rows | None, np.ndarray]:
    """Split off the rows that no report evaluates, to be computed in bfloat16; return them, and which examples are
    evaluated.

    With a test split those are its examples and the validation examples; otherwise all, by cross-validation. Only plain
    views are evaluated.
    """
    session, scored = setup.session, np.zeros(len(setup.session.dataset.examples), dtype=bool)
    validating = session.validated[1] if setup.resolved.validates else NOBODY
    scored[np.concatenate([session.splits.test, validating]) if session.tests else session.usable] = True
    others = [at for at in rows.examples if not scored[at]] if session.tests else rows.examples
    wants = [want for want in rows.wants if session.tests or want.views > 1]
    if not others or not wants:
        return None, scored
    rows.wants = [replace(want, views=1) for want in rows.wants]
    rows.examples = [at for at in rows.examples if scored[at]]
    return rows_of(setup, wants, others, "bfloat16"), scored
