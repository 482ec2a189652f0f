"""Cross-validation judges the very model that is trained."""

from dataclasses import replace

import numpy as np
import pytest

from problems import drained, opened, problem
from regraft.strategies import probe
from regraft.workbench._evaluation import Scores, cross_validate_probe, deal


def cross_validated(asked: probe.Problem, options: probe.Options) -> Scores:
    running = cross_validate_probe(asked, options, num_folds=4, max_repeats=1, max_seconds=None)
    while True:
        try:
            next(running)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("options", [probe.Options(c=0.003), probe.Options(c=0.003, balanced=True)])
def test_a_probes_held_out_logits_are_those_of_the_same_probe_without_the_fold(
    views: int, options: probe.Options
) -> None:
    asked = problem(opened("googlenet:tiny@random", 32), "output", views=views, examples=40)
    asked = replace(asked, top=asked.states, targets=np.minimum(np.arange(40) % 5, 2))
    held = cross_validated(asked, options)
    fold_of = deal(asked, 4, 0).of_example
    for fold in range(4):
        left_out = fold_of == fold
        part = asked.part("fold", train=asked.train[~left_out], val=asked.val)
        _, fitted = drained(probe.fit(part, options))
        expected = fitted.logits(part, asked.train[left_out])
        if options.balanced:  # the classes weigh the same over all that is judged, and nearly so without a fold
            assert (held.logits[left_out].argmax(axis=1) == expected.argmax(axis=1)).all()
            np.testing.assert_allclose(held.logits[left_out], expected, atol=0.15)
        else:
            np.testing.assert_allclose(held.logits[left_out], expected, atol=2e-3)
