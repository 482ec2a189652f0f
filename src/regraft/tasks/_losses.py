"""What a linear head is solved for: a class, several labels, classes beside fixed ones, target values.

A loss holds the targets of all examples or rows; its link is the loss over some of them, as a solver evaluates it.

Shapes: n examples or rows, c outputs, s outputs that are solved, p heads, o fixed outputs,
m examples asked for, d features.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from regraft.errors import BadData
from regraft.tasks.probabilities import binary_log_losses, log_losses, log_softmax, sigmoid_slopes, softmax_slopes

Slopes = tuple[float, Float[np.ndarray, "s b"], Float[np.ndarray, " s"]]
"""Loss of some rows, its derivatives by the logits, and the curvature of each output."""
Head = tuple[Float[np.ndarray, "c a"], Float[np.ndarray, " c"]]
"""Weights and biases."""
STEP = 10**0.5
"""Ratio of neighbouring values of c on a grid."""


def default_grid(width: int) -> tuple[float, ...]:
    """Ten values of C, from strong to weak, for `width` standardised features.

    A row of d standardised features has squared length d on average, so heads at the same C d are penalised alike; the
    grid runs over C d from 0.1 in half decades (our choice; on small real sets the best lay between 0.3 and 30,000).
    """
    return tuple(0.1 / width * STEP**i for i in range(10))


@dataclass(frozen=True, eq=False)
class _Loss:
    """The targets; and how a penalty is chosen."""

    targets: Shaped[np.ndarray, "n ..."]

    measure = "log_loss"
    """Name of what is lost."""

    def __len__(self) -> int:
        return len(self.targets)

    def grid(self, width: int) -> tuple[float, ...]:
        """The values of c that are tried."""
        return default_grid(width)


@dataclass(frozen=True, eq=False)
class _Columns(_Loss):
    """A loss with a column of targets for every output."""

    extension = 0
    """Values of c tried beyond an end of the grid at which the best lies."""

    @property
    def num_outputs(self) -> int:
        """One per column."""
        return int(self.targets.shape[1])


@dataclass(frozen=True, eq=False)
class Softmax(_Loss):
    """One of several classes.

    With `fixed`, logits of classes that stay as they are: these come first in the numbering of the targets, and only
    the `num_outputs` classes after them are solved.
    """

    targets: Int[np.ndarray, " n"]
    num_outputs: int
    fixed: Float[np.ndarray, "n o"] | None = None
    extension: int = 2

    def __post_init__(self) -> None:
        count = self.num_outputs + (0 if self.fixed is None else self.fixed.shape[1])
        low, high = int(self.targets.min(initial=0)), int(self.targets.max(initial=0))
        if low < 0 or high >= count:
            raise BadData(
                f"The targets run from {low} to {high}, but {count} classes have the numbers 0 to {count - 1}.",
                fix="number the classes from 0; leave out examples without a label.",
            )

    def losses(self, outputs: Float[np.ndarray, "p m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "p m"]:
        """Log losses in nats."""
        if self.fixed is None:
            return np.stack([log_losses(one, self.targets[rows]) for one in outputs])
        fixed = self.fixed[rows]
        return np.stack([log_losses(np.concatenate([fixed, one], axis=1), self.targets[rows]) for one in outputs])

    def link(self, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> "SoftmaxLink":
        """The loss over some rows."""
        return SoftmaxLink(self, inside, weights)


class SoftmaxLink:
    """The mean weighted softmax loss over some rows, of the classes that occur in them.

    A class without a row gets zero weights and the bias that half an example would earn (our choice: its probability is
    small, and never 0). With two classes scikit-learn has one weight vector w where we have two, -w/2 and w/2 at the
    optimum, so there the penalty is doubled and the probabilities agree.
    """

    def __init__(self, loss: Softmax, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> None:
        fixed, count = loss.fixed, loss.num_outputs
        self._num_fixed = 0 if fixed is None else fixed.shape[1]
        sums = np.bincount(loss.targets[inside], weights[inside], minlength=self._num_fixed + count)[self._num_fixed :]
        self.total = float(weights[inside].sum())
        self.present = np.flatnonzero(sums > 0)
        share, solved = sums[self.present] / self.total, len(self.present)
        self._level = 0.0
        if fixed is not None:
            sum_logs = fixed[inside, 0] - log_softmax(fixed[inside])[:, 0]
            self._level = float(np.average(sum_logs, weights=weights[inside]))
        self.bias = self._level + np.log(share)
        self.curvature = share * (1 - share)
        alone = fixed is None
        self.boost = solved / (solved - 1) if alone and solved > 1 else 1.0
        self.strength = 2.0 if alone and solved == 2 else 1.0
        number = np.arange(self._num_fixed + count)
        number[self._num_fixed + self.present] = self._num_fixed + np.arange(solved)
        self._targets, self._shares = number[loss.targets], weights / self.total
        self._fixed, self._num_outputs = fixed, count

    def __call__(self, logits: Float[np.ndarray, "s b"], rows: Int[np.ndarray, " b"]) -> Slopes:
        """Loss of some rows, its derivatives by the logits, and the curvature of each class."""
        if self._fixed is not None:
            logits = np.concatenate([self._fixed[rows].T.astype(logits.dtype), logits])
        value, slopes, curvature = softmax_slopes(logits, self._targets[rows], self._shares[rows])
        return value, slopes[self._num_fixed :], curvature[self._num_fixed :]

    def spread(self, weight: Float[np.ndarray, "s a"], bias: Float[np.ndarray, " s"]) -> Head:
        """The solution of the classes that occur, among all; biases sum to zero over those that occur."""
        level = self._level
        if self._fixed is None:
            bias = bias - bias.mean()
            level = float(np.log(np.exp(bias - bias.max()).sum()) + bias.max())
        all_weight = np.zeros((self._num_outputs, weight.shape[1]))
        all_bias = np.full(self._num_outputs, level + np.log(0.5 / (self.total + 0.5)))
        all_weight[self.present], all_bias[self.present] = weight, bias
        return all_weight, all_bias


@dataclass(frozen=True, eq=False)
class Sigmoid(_Columns):
    """Yes (1) or no (0) for each of several labels: independent logistic regressions, solved at once."""

    targets: Float[np.ndarray, "n c"]

    def losses(self, outputs: Float[np.ndarray, "p m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "p m"]:
        """Log losses in nats, averaged over the labels: one penalty for all is known better than one for each of
        rare ones (our choice)."""
        truth = np.broadcast_to(self.targets[rows], outputs.shape)
        result: Float[np.ndarray, "p m"] = binary_log_losses(outputs, truth).mean(axis=2)
        return result

    def link(self, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> "SigmoidLink":
        """The loss over some rows."""
        return SigmoidLink(self, inside, weights)


class SigmoidLink:
    """The mean weighted log loss over some rows, summed over the labels that have both positive and negative examples.

    Where only one does, the weights are zero and the bias is what half an example of the other would earn (our choice).
    """

    strength = boost = 1.0

    def __init__(self, loss: Sigmoid, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> None:
        self.total = float(weights[inside].sum())
        share = weights[inside] @ (loss.targets[inside] > 0) / self.total
        self.present = np.flatnonzero((share > 0) & (share < 1))
        self._unsolved = np.where(share > 0, 1.0, -1.0) * np.log((self.total + 0.5) / 0.5)
        share = share[self.present]
        self.bias, self.curvature = np.log(share / (1 - share)), share * (1 - share)
        self._targets, self._shares = loss.targets.T[self.present], weights / self.total

    def __call__(self, logits: Float[np.ndarray, "s b"], rows: Int[np.ndarray, " b"]) -> Slopes:
        """Loss of some rows, its derivatives by the logits, and the curvature of each label."""
        return sigmoid_slopes(logits, self._targets[:, rows].astype(logits.dtype), self._shares[rows])

    def spread(self, weight: Float[np.ndarray, "s a"], bias: Float[np.ndarray, " s"]) -> Head:
        """The solution of the labels that are solved, among all."""
        all_weight, all_bias = np.zeros((len(self._unsolved), weight.shape[1])), self._unsolved.copy()
        all_weight[self.present], all_bias[self.present] = weight, bias
        return all_weight, all_bias


@dataclass(frozen=True, eq=False)
class Squares(_Columns):
    """Target values, by least squares: ridge regression."""

    targets: Float[np.ndarray, "n c"]

    measure = "squared_error"

    def grid(self, width: int) -> tuple[float, ...]:
        """Seventeen values of c: c d runs from 1e-4 to 1e4 in half decades, because further values cost next to
        nothing (our choice)."""
        return tuple(1e-4 / width * STEP**i for i in range(17))

    def losses(self, outputs: Float[np.ndarray, "p m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "p m"]:
        """Squared errors, averaged over the target values."""
        result: Float[np.ndarray, "p m"] = np.square(outputs - self.targets[rows]).mean(axis=2)
        return result


Loss = Softmax | Sigmoid | Squares


def taken(loss: Loss, rows: Int[np.ndarray, " r"]) -> Loss:
    """The same, of these examples."""
    if isinstance(loss, Softmax) and loss.fixed is not None:
        loss = replace(loss, fixed=loss.fixed[rows])
    return replace(loss, targets=loss.targets[rows])
