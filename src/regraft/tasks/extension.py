"""Rows for new classes beside those of a softmax head that stay as they are, solved to their optimum.

An example's logits are those of the old classes, which are given and fixed, and z w + b for the new ones, z its
standardised features. What is minimised over w and b is the objective of a whole head, in which only some rows move. It
is convex in them. C is the one of smallest cross-validated log loss.

Our choice throughout; nothing is published of it that we know. What it cannot do: the old rows were solved without the
new classes and keep their share of the plane, so where a new class resembles an old one, retraining the whole head
does better.

Shapes: n examples, d features, o old classes, k new classes.
"""

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.linear import Solution
from regraft.tasks.linear import Softmax, solve
from regraft.tasks.rows import Views


def solve_rows(
    features: Float[np.ndarray, "n d"],
    old_logits: Float[np.ndarray, "n o"],
    targets: Int[np.ndarray, " n"],
    *,
    num_new: int,
    fold_of: Int[np.ndarray, " n"] | None,
    c: float = 0.0,
    weights: Float[np.ndarray, " n"] | None = None,
) -> Solution:
    """The rows of the `num_new` classes after the old ones, at inverse penalty `c` or at the best over the folds.

    `targets` number old classes first, as the columns of `old_logits`. `weights` are the examples' own, 1 by default.

    Raises:
        BadData: features that are not finite.
    """
    loss = Softmax(targets, num_new, old_logits, extension=0)
    return solve(loss, features, views=Views.plain(len(targets)), fold_of=fold_of, c=c, weights=weights)
