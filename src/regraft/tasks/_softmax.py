"""The softmax, and the log loss of a linear softmax classifier over blocks of rows with its gradient.

Shapes: b rows of a block, d features, c classes. Logits are kept class by row (c b), which keeps numpy's reductions
over the classes fast when these are few.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Loss:
    """The weighted log loss of a head, and what a solver needs beside it."""

    value: float
    """Sum over the rows of weight times negative log probability of the row's class, in nats."""
    weight: Float[np.ndarray, "c d"]
    """Gradient with respect to the weights."""
    bias: Float[np.ndarray, " c"]
    """Gradient with respect to the biases."""
    curvature: Float[np.ndarray, " c"]
    """Sum over the rows of weight times p (1 - p) of each class: the size of the second derivatives."""


def softmax_loss(
    blocks: Iterable[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b d"]]],
    weight: Float[np.ndarray, "c d"],
    bias: Float[np.ndarray, " c"],
    targets: Int[np.ndarray, " r"],
    row_weights: Float[np.ndarray, " r"],
) -> Loss:
    """The loss over `blocks` of (row numbers, features); products in the features' dtype, sums in float64."""
    value = 0.0
    weight_gradient, bias_gradient = np.zeros(weight.shape), np.zeros(bias.shape)
    curvature = np.zeros(bias.shape)
    cast: dict[np.dtype, tuple[np.ndarray, np.ndarray]] = {}
    for index, rows in blocks:
        if rows.dtype not in cast:
            cast[rows.dtype] = weight.astype(rows.dtype, copy=False), bias.astype(rows.dtype)[:, None]
        cast_weight, cast_bias = cast[rows.dtype]
        truth, shares = targets[index], row_weights[index]
        logits = cast_weight @ rows.T
        logits += cast_bias
        logits -= logits.max(axis=0)
        at_truth = (truth, np.arange(len(index)))
        true_logits = logits[at_truth].astype(np.float64)
        probabilities = np.exp(logits, out=logits)
        total = probabilities.sum(axis=0)
        value += float(shares @ (np.log(total, dtype=np.float64) - true_logits))
        probabilities /= total
        weighted = probabilities * shares.astype(rows.dtype)
        expected = weighted.sum(axis=1, dtype=np.float64)
        curvature += expected - np.einsum("cb,cb->c", weighted, probabilities)
        weighted[at_truth] -= shares.astype(rows.dtype)
        weight_gradient += weighted @ rows
        bias_gradient += weighted.sum(axis=1, dtype=np.float64)
    return Loss(value, weight_gradient, bias_gradient, curvature)


def log_losses(logits: Float[np.ndarray, "n c"], targets: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Negative log probability of each row's class under the softmax, in nats, in float64."""
    losses: Float[np.ndarray, " n"] = -log_softmax(logits)[np.arange(len(targets)), targets]
    return losses


def log_softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Logarithms of the softmax of each row, in float64; no overflow for any finite logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: Float[np.ndarray, "n c"] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Softmax of each row, in float64; rows sum to 1."""
    result: Float[np.ndarray, "n c"] = np.exp(log_softmax(logits))
    return result
