"""What tasks share that ask several questions of yes or no about an example: labels, and ranks as "above this one?".

Letters: n examples, b of a batch, c questions, s choices.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.contracts.linear import check_weighable
from regraft.tasks.linear import Sigmoid, SolvedTask
from regraft.tasks.probabilities import as_choices, fit_temperature

if TYPE_CHECKING:
    from torch import Tensor


class BinaryTask(SolvedTask):
    """A sigmoid for each question; `encoded` targets are 1 or 0."""

    def stated(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> tuple[Float[np.ndarray, "s 2"], Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """A choice for each example and question: yes or no."""
        return as_choices(logits, self.encoded(targets, {}))

    def rescaled(
        self, logits: Float[np.ndarray, "n c"], targets: Shaped[np.ndarray, "n ..."]
    ) -> Float[np.ndarray, "n c"]:
        """The logits divided by the one temperature of smallest log loss over all questions."""
        choices, true, _ = self.stated(logits, targets)
        result: Float[np.ndarray, "n c"] = logits / np.float32(fit_temperature(choices, true))
        return result

    def solved_loss(self, targets: Shaped[np.ndarray, "n ..."]) -> Sigmoid:
        """Independent logistic regressions with one penalty."""
        return Sigmoid(self.encoded(targets, {}))

    def objective(
        self, targets: Shaped[np.ndarray, "n ..."], *, balanced: bool, smoothing: float
    ) -> "Callable[[Tensor, Tensor], Tensor]":
        """Mean binary cross entropy over examples and questions."""
        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return _cross_entropy


def _cross_entropy(logits: "Tensor", goals: "Tensor") -> "Tensor":
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits.float(), goals)
