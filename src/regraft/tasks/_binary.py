"""What tasks share that ask several questions of yes or no about an example: tags, and ranks as "above this one?".

Letters: n examples, b of a batch, c questions, d features, r rows (an example has one per view).
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.task import FoldLogits, Solution
from regraft.tasks._regularisation import default_grid
from regraft.tasks._temperature import fit_temperature
from regraft.tasks.rows import RowSource, Views

if TYPE_CHECKING:
    from torch import Tensor


def sigmoid(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Probability of yes, in float64."""
    result: Float[np.ndarray, "n c"] = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))
    return result


def as_choices(
    logits: Float[np.ndarray, "n c"], answers: Float[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, "s 2"], Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
    """Each question as a choice between no (logit 0) and yes: logits, which is true, and of which example it is."""
    yes = logits.reshape(-1, 1)
    of_example = np.repeat(np.arange(len(logits)), logits.shape[1])
    return np.concatenate([np.zeros_like(yes), yes], axis=1), answers.ravel().astype(np.int64), of_example


def rescaled(logits: Float[np.ndarray, "n c"], answers: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """The logits divided by the one temperature of least log loss over all questions."""
    choices, true, _ = as_choices(logits, answers)
    result: Float[np.ndarray, "n c"] = logits / np.float32(fit_temperature(choices, true))
    return result


def solve(
    features: RowSource,
    answers: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of: Int[np.ndarray, " n"] | None,
    c: float,
) -> Solution:
    """A logistic regression for each question, one penalty for all; as `Task.solve`."""
    from regraft.tasks._tags import fit_tags

    width = features.shape[1]
    grid = [c] if c else (default_grid(width) if fold_of is not None else [1.0 / width])
    found = fit_tags(features, answers, views=views, fold_of=fold_of, grid=grid)
    return Solution(
        weight=found.weight.astype(np.float32),
        bias=found.bias.astype(np.float32),
        out_of_fold=found.out_of_fold,
        facts={
            "c": found.c,
            "at_edge": found.at_edge,
            "tried": [asdict(tried) for tried in found.tried],
            "converged": found.converged,
        },
    )


def cross_validate(
    features: RowSource,
    answers: Float[np.ndarray, "n c"],
    *,
    views: Views,
    fold_of_repeats: Iterable[Int[np.ndarray, " n"]],
    c: float,
    max_seconds: float,
) -> Iterator[FoldLogits]:
    """Logits of logistic regressions that never saw the example; as `Task.cross_validate`."""
    from regraft.tasks._tags import repeated_tags

    grid = [c] if c else default_grid(features.shape[1])
    return repeated_tags(
        features, answers, views=views, fold_of_repeats=fold_of_repeats, grid=grid, max_seconds=max_seconds
    )


def loss(logits: "Tensor", goals: "Tensor") -> "Tensor":
    """Mean binary cross entropy over examples and questions."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits.float(), goals)
