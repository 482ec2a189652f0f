"""Probabilities from logits (softmax, sigmoid, temperature scaling), and the losses of linear heads.

A loss holds the targets of all examples or rows; its link evaluates the loss over some of them for a solver.

Shapes: n examples or rows, c classes, binary decisions or outputs, s outputs being solved, o fixed outputs, m selected
examples, d features.

Source of temperature scaling: Guo et al. 2017, arXiv:1706.04599.
"""

from dataclasses import KW_ONLY, dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Slopes = tuple[float, Float[np.ndarray, "s b"], Float[np.ndarray, " s"]]
"""Loss of some rows, its derivatives by the logits, and the curvature of each output."""
Head = tuple[Float[np.ndarray, "c a"], Float[np.ndarray, " c"]]
"""Weights and biases."""
STEP = 10**0.5
"""Ratio of neighbouring values of c on a grid."""
RANGE = (0.05, 20.0)
"""Range of temperatures (our choice)."""


def log_softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Return the log-softmax of each row, in float64, without overflow for any finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Return the softmax of each row, in float64; rows sum to 1."""
    return np.exp(log_softmax(logits))


def log_losses(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the negative log probability of each row's class under the softmax, in nats, in float64."""
    return -log_softmax(logits)[np.arange(len(targets)), targets]


def softmax_slopes(
    logits: Float[np.ndarray, "c n"], targets: Int[np.ndarray, " n"], shares: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "c n"], Float[np.ndarray, " c"]]:
    """Return the sum of `shares` times log loss, its derivatives by the logits, and for each class the sum of `shares`
    times p (1 - p).

    `logits` has a row per class, which keeps numpy's reductions over few classes fast. It is overwritten.
    """
    logits -= logits.max(axis=0)
    at_truth = (targets, np.arange(len(targets)))
    true_logits = logits[at_truth].astype(np.float64)
    probabilities = np.exp(logits, out=logits)
    total = probabilities.sum(axis=0)
    value = float(shares @ (np.log(total, dtype=np.float64) - true_logits))
    probabilities /= total
    slopes = probabilities * shares.astype(logits.dtype)
    curvature = slopes.sum(axis=1, dtype=np.float64) - np.einsum("cn,cn->c", slopes, probabilities)
    slopes[at_truth] -= shares.astype(logits.dtype)
    return value, slopes, curvature


def sigmoid(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Return the probability of yes, in float64."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def binary_log_losses(logits: Float[np.ndarray, "*n"], yes: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return the negative log probability of each true outcome, in nats, in float64; `yes` is 1 or 0."""
    wide = logits.astype(np.float64)
    return np.logaddexp(0.0, np.where(yes > 0, -wide, wide))


def sigmoid_slopes(
    logits: Float[np.ndarray, "c n"], yes: Float[np.ndarray, "c n"], shares: Float[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, "c n"], Float[np.ndarray, " c"]]:
    """Return the same as `softmax_slopes`, for binary log losses, summed over the decisions."""
    small = np.exp(-np.abs(logits))
    losses = np.log1p(small) + np.maximum(logits, 0) - yes * logits
    value = float((losses @ shares.astype(logits.dtype)).sum(dtype=np.float64))
    probabilities = np.where(logits >= 0, 1, small) / (1 + small)
    weighted = probabilities * shares.astype(logits.dtype)
    curvature = weighted.sum(axis=1, dtype=np.float64) - np.einsum("cn,cn->c", weighted, probabilities)
    return value, weighted - yes * shares.astype(logits.dtype), curvature


def fit_temperature(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> float:
    """Return the temperature in [0.05, 20] that minimises the log loss.

    The loss is convex in 1 / temperature; the root of its derivative is found by Newton steps in the logarithm, with
    bisection whenever a step leaves the bracket. Returns 1 if the logits of every example are equal.
    """
    wide = logits.astype(np.float64)
    given = float(wide[np.arange(len(targets)), targets].mean())

    def slope(at: float) -> tuple[float, float]:
        """Return the first derivative of the loss by the inverse temperature e^at, and the second times e^at."""
        share_of = softmax(wide * exp(at))
        mean = (share_of * wide).sum(axis=1)
        variance = (share_of * (wide - mean[:, None]) ** 2).sum(axis=1)
        return float(mean.mean()) - given, float(variance.mean()) * exp(at)

    if np.ptp(wide, axis=1).max() == 0:
        return 1.0
    low, high = -log(RANGE[1]), -log(RANGE[0])
    if slope(low)[0] >= 0:
        return RANGE[1]
    if slope(high)[0] <= 0:
        return RANGE[0]
    at = 0.0
    for _ in range(100):
        rise, curve = slope(at)
        low, high = (low, at) if rise > 0 else (at, high)
        step = at - rise / curve if curve > 0 else low
        step = step if low < step < high else (low + high) / 2
        if abs(step - at) < 1e-12:
            break
        at = step
    return exp(-at)


def default_grid(width: int) -> tuple[float, ...]:
    """Return ten values of C, from strong to weak penalty, for `width` standardised features.

    A row of d standardised features has squared length d on average, so heads with the same C d are penalised alike;
    the grid covers C d from 0.1 upwards in half decades (our choice; on small real data sets the best was between 0.3
    and 30,000).
    """
    return tuple(0.1 / width * STEP**i for i in range(10))


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of a linear head, with the targets of all examples; by default one column per output."""

    targets: Shaped[np.ndarray, "n ..."]
    _: KW_ONLY
    weights: Float[np.ndarray, " n"] | None = None
    """Weight of each example; None for equal weights."""

    measure = "log_loss"
    """Name of the loss."""
    extension = 0
    """Number of values of c to try beyond an end of the grid if the best is there."""
    ends_early = True
    """Whether a path ends once the loss is clearly past its minimum, because each value costs a solve."""

    @property
    def num_outputs(self) -> int:
        """Number of outputs: one per column."""
        return int(self.targets.shape[1])

    def grid(self, width: int) -> tuple[float, ...]:
        """Return the values of c to try."""
        return default_grid(width)

    def taken(self, rows: Int[np.ndarray, " r"]) -> Any:
        """Return the same loss for the examples of these rows, without weights."""
        return replace(self, targets=self.targets[rows], weights=None)


@dataclass(frozen=True, eq=False)
class Softmax(Loss):
    """Softmax cross entropy over classes.

    `fixed` are logits of classes that do not change: these come first in the numbering of the targets, and only the
    `num_solved` classes after them are solved. An example's logits are those of the fixed classes, and z w + b for the
    others, with z its standardised features; w and b minimise the objective of the whole head, in which only some rows
    may change (our choice; we know of no publication). Since the fixed rows keep their decision regions, solving the
    whole head works better when a new class resembles an old one.
    """

    targets: Int[np.ndarray, " n"]
    num_solved: int
    fixed: Float[np.ndarray, "n o"] | None = None

    @property
    def num_outputs(self) -> int:
        """Number of classes being solved."""
        return self.num_solved

    @property
    def extension(self) -> int:  # type: ignore[override]
        """Two; 0 with fixed classes."""
        return 2 if self.fixed is None else 0

    def taken(self, rows: Int[np.ndarray, " r"]) -> "Softmax":
        """Return the same loss for the examples of these rows, without weights."""
        fixed = None if self.fixed is None else self.fixed[rows]
        return replace(self, targets=self.targets[rows], fixed=fixed, weights=None)

    def losses(self, outputs: Float[np.ndarray, "m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Return log losses in nats."""
        every = outputs if self.fixed is None else np.concatenate([self.fixed[rows], outputs], axis=1)
        return log_losses(every, self.targets[rows])

    def link(self, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> "SoftmaxLink":
        """Return the loss over some rows."""
        return SoftmaxLink(self, inside, weights)


class SoftmaxLink:
    """The mean weighted softmax loss over some rows, for the classes that occur in them.

    A class without rows gets zero weights and the bias that half an example would give (our choice: its probability is
    small but never 0). With two classes scikit-learn has one weight vector w where we have two, -w/2 and w/2 at the
    optimum, so the penalty is doubled there and the probabilities agree.
    """

    def __init__(self, loss: Softmax, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> None:
        fixed, count = loss.fixed, loss.num_solved
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
        """Return the loss of some rows, its derivatives by the logits, and the curvature of each class."""
        if self._fixed is not None:
            logits = np.concatenate([self._fixed[rows].T.astype(logits.dtype), logits])
        value, slopes, curvature = softmax_slopes(logits, self._targets[rows], self._shares[rows])
        return value, slopes[self._num_fixed :], curvature[self._num_fixed :]

    def spread(self, weight: Float[np.ndarray, "s a"], bias: Float[np.ndarray, " s"]) -> Head:
        """Return the head for all classes from the solution for those that occur; biases sum to zero over these."""
        level = self._level
        if self._fixed is None:
            bias = bias - bias.mean()
            level = float(np.log(np.exp(bias - bias.max()).sum()) + bias.max())
        all_weight = np.zeros((self._num_outputs, weight.shape[1]))
        all_bias = np.full(self._num_outputs, level + np.log(0.5 / (self.total + 0.5)))
        all_weight[self.present], all_bias[self.present] = weight, bias
        return all_weight, all_bias


@dataclass(frozen=True, eq=False)
class Sigmoid(Loss):
    """Yes (1) or no (0) for each of several labels: independent logistic regressions, solved jointly."""

    def losses(self, outputs: Float[np.ndarray, "m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Return log losses in nats, averaged over the labels: one common penalty is estimated more reliably than one
        for each rare label (our choice)."""
        return binary_log_losses(outputs, self.targets[rows]).mean(axis=1)

    def link(self, inside: Bool[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> "SigmoidLink":
        """Return the loss over some rows."""
        return SigmoidLink(self, inside, weights)


class SigmoidLink:
    """The mean weighted log loss over some rows, summed over the labels that have both positive and negative examples.

    For other labels, the weights are zero and the bias is what half an example of the missing kind would give (our
    choice).
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
        """Return the loss of some rows, its derivatives by the logits, and the curvature of each label."""
        return sigmoid_slopes(logits, self._targets[:, rows].astype(logits.dtype), self._shares[rows])

    def spread(self, weight: Float[np.ndarray, "s a"], bias: Float[np.ndarray, " s"]) -> Head:
        """Return the head for all labels from the solution for those solved."""
        all_weight, all_bias = np.zeros((len(self._unsolved), weight.shape[1])), self._unsolved.copy()
        all_weight[self.present], all_bias[self.present] = weight, bias
        return all_weight, all_bias


@dataclass(frozen=True, eq=False)
class Squares(Loss):
    """Squared error of target values: ridge regression."""

    measure = "squared_error"
    ends_early = False

    def grid(self, width: int) -> tuple[float, ...]:
        """Return seventeen values of c, with c d from 1e-4 to 1e4 in half decades; more values are cheap (our
        choice)."""
        return tuple(1e-4 / width * STEP**i for i in range(17))

    def losses(self, outputs: Float[np.ndarray, "m c"], rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Return squared errors, averaged over the target values."""
        return np.square(outputs - self.targets[rows]).mean(axis=1)
