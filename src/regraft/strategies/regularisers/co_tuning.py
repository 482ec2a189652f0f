"""Co-Tuning: the pretrained classifier is kept and trained too, on the source classes that a target class resembles.

    lambda * 1/b sum_i sum_s -p(s | t_i) log q_s(x_i)

q is the softmax of the source classifier on the features of x_i, t_i its class, p(s | t) the category relationship,
learned beforehand from the pretrained source classifier's predictions on the training examples (below). The source
classifier has the learning rate of the highest stage and is discarded at the end.

Source: You et al. 2020, "Co-Tuning for Transfer Learning", NeurIPS 2020; lambda = 2.3 is that of the authors' code
(thuml/CoTuning). They calibrate the source classifier on its own validation data; a backbone does not include
those, so its probabilities are used as they are.

Letters: b rows, t target classes, s source classes.

The category relationship p(s | t) is computed from the source classifier's predictions on labelled examples.

*Reverse*, as in the paper: a logistic regression without intercept from the source classifier's probabilities to the
target classes; applied to a single source class it gives p(t | s), which Bayes' rule inverts with p(s), the mean of the
probabilities. Its penalty and the temperature of its logits are chosen on held-out examples. *Direct*: the mean of the
probabilities over the examples of a class.

Source: You et al. 2020, "Co-Tuning for Transfer Learning", NeurIPS 2020, and the authors' code (thuml/CoTuning,
`relationship_learning`), which chooses the penalty by the accuracy on one validation split and calibrates there. With
five or ten examples per class that is unreliable, so here every example is held out once, and the criterion is the log
loss after temperature scaling (our choice).

Letters: n examples, t target classes, s source classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regraft.contracts.strategy import Problem
from regraft.folds import folds
from regraft.identity import derive_seed
from regraft.strategies.probe import features_of
from regraft.strategies.regularisers.regulariser import Kind, Regulariser
from regraft.strategies.tail import Batch, Tail
from regraft.tasks.lbfgs import minimise
from regraft.tasks.linear import linear
from regraft.tasks.losses import fit_temperature, log_losses, softmax, softmax_slopes

WEIGHT = 2.3
"""lambda."""
FOLDS = 5
"""Folds of the training examples for choosing and calibrating the relationship."""
MAX_EXAMPLES = 2000
"""Maximum number of training examples for the relationship (our choice)."""
ROWS = 256
"""Batch size of the source classifier."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Relationship:
    """Which source classes the examples of a target class resemble."""

    given_target: Float[np.ndarray, "t s"]
    """p(s | t); rows sum to 1. A class without examples has the mean over all examples."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How it was learned, as JSON."""
    notes: tuple[str, ...] = ()
    """Notices for the user: whole sentences."""


class CoTuning(Regulariser):
    """Cross entropy of the source classifier against the category relationship."""

    def __init__(self, source_head: nn.Module, relationship: Float[Tensor, "t s"], weight: float) -> None:
        super().__init__(weight)
        self.source_head = source_head
        self.relationship: Tensor
        self.register_buffer("relationship", relationship, persistent=False)

    def forward(self, tail: Tail, batch: Batch) -> Float[Tensor, ""]:
        said = torch.log_softmax(self.source_head(batch.passed.features), dim=1)
        return -self.weight * (self.relationship[batch.targets] * said).sum(dim=1).mean()


def build(problem: Problem, tail: Tail, weight: float) -> CoTuning:
    """Take the source classifier, and learn how its classes relate to the target classes."""
    source_head = problem.backbone.fresh_network().source_head
    assert source_head is not None
    found = _learnt(problem, source_head)
    made = CoTuning(source_head.requires_grad_(True), torch.from_numpy(found.given_target.astype(np.float32)), weight)
    made.facts, made.notes = {"source_classes": found.given_target.shape[1], **found.facts}, found.notes
    return made


def _learnt(problem: Problem, source_head: nn.Module) -> Relationship:
    """Return the relationship from the plain views of the training examples, by folds if possible."""
    random = np.random.default_rng(derive_seed(problem.seed, "co_tuning"))
    positions = np.sort(random.permutation(problem.train)[:MAX_EXAMPLES])
    targets, groups = problem.targets[positions], problem.groups[positions]
    said = source_probabilities(problem, source_head, positions)
    if len(np.unique(groups)) < 2 or len(np.unique(targets)) < 2:
        return direct(said, targets, linear(problem.task).num_outputs)
    dealt = folds(targets, groups, FOLDS, derive_seed(problem.seed, "co_tuning", "folds"))
    return reverse(said, targets, linear(problem.task).num_outputs, dealt.of_example)


def source_probabilities(
    problem: Problem, source_head: nn.Module, positions: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n s"]:
    """Return the pretrained source classifier's probabilities for the plain views of these examples."""
    features, parts = features_of(problem, positions), []
    source_head.eval()
    with torch.no_grad():
        for first in range(0, len(positions), ROWS):
            rows = np.ascontiguousarray(features[first : first + ROWS], dtype=np.float32)
            parts.append(source_head(torch.from_numpy(rows)).numpy())
    source_head.train()
    return softmax(np.concatenate(parts))


ENTRY = Kind(weight=WEIGHT, relates_classes=True, build=build)


STRENGTHS = (1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)
"""Inverse regularisation strengths to try, as in scikit-learn, strongest first: the authors' range in decades, without
the lowest two, at which the regression is uninformative (our choice)."""
TOLERANCE = 1e-6
"""Norm of the gradient of the mean loss at which a fit stops."""
MAX_ITERATIONS = 500
"""Maximum number of steps of a fit; the remaining error is negligible."""


def direct(said: Float[np.ndarray, "n s"], targets: Int[np.ndarray, "n"], num_classes: int) -> Relationship:
    """Return the mean of the probabilities over the examples of each class."""
    rows = np.tile(said.mean(axis=0), (num_classes, 1))
    for target in np.unique(targets):
        rows[target] = said[targets == target].mean(axis=0)
    note = (
        "With a single group or class, cross-validation is impossible, so the relationship between classes is the "
        "mean of the source classifier's predictions for each."
    )
    return Relationship(given_target=rows, facts={"relationship": "direct"}, notes=(note,))


def reverse(
    said: Float[np.ndarray, "n s"], targets: Int[np.ndarray, "n"], num_classes: int, fold_of: Int[np.ndarray, "n"]
) -> Relationship:
    """Return p(s | t) from p(t | s), the output of a calibrated logistic regression, by Bayes' rule.

    The facts include its log loss (nats) on held-out examples: at log t, that of guessing, the source classes carry no
    information about the target classes.
    """
    present, codes = np.unique(targets, return_inverse=True)
    best, starts = (np.inf, np.nan, 1.0), dict[int, np.ndarray]()
    for c in STRENGTHS:
        logits = np.empty((len(codes), len(present)))
        for fold in range(int(fold_of.max()) + 1):
            held = fold_of == fold
            starts[fold] = regression(said[~held], codes[~held], len(present), c, starts.get(fold))
            logits[held] = said[held] @ starts[fold].T
        temperature = fit_temperature(logits, codes)
        loss = float(log_losses(logits / temperature, codes).mean())
        if loss < best[0]:
            best = (loss, c, temperature)
    loss, c, temperature = best
    weight = regression(said, codes, len(present), c, None)
    marginal = said.mean(axis=0)
    rows = np.tile(marginal, (num_classes, 1))
    rows[present] = turned_round(softmax(weight.T / temperature), marginal)
    told = {"relationship": "reverse", "c": c, "temperature": round(temperature, 4), "log_loss": round(loss, 4)}
    return Relationship(given_target=rows, facts=told)


def turned_round(
    target_given_source: Float[np.ndarray, "s t"], marginal: Float[np.ndarray, "s"]
) -> Float[np.ndarray, "t s"]:
    """Return p(s | t) from p(t | s) and p(s)."""
    joint = (target_given_source * marginal[:, None]).T
    return joint / joint.sum(axis=1, keepdims=True)


def regression(
    said: Float[np.ndarray, "n s"],
    targets: Int[np.ndarray, "n"],
    num_classes: int,
    c: float,
    start: Float[np.ndarray, "t s"] | None,
) -> Float[np.ndarray, "t s"]:
    """Return the weights of the logistic regression without intercept that minimises `c` times the summed log loss
    plus half the squared weights; the objective is normalised, so that the solver's steps have similar sizes for
    every `c`."""
    examples, shape = len(targets), (num_classes, said.shape[1])
    shares, penalty = np.full(examples, 1 / examples), 1 / (c * examples)

    def objective(flat: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        weight = flat.reshape(shape)
        value, slopes, _ = softmax_slopes(weight @ said.T, targets, shares)
        return value + 0.5 * penalty * float(flat @ flat), (slopes @ said + penalty * weight).ravel()

    first = np.zeros(shape) if start is None else start
    found = minimise(objective, first.ravel(), max_iterations=MAX_ITERATIONS, gradient_tolerance=TOLERANCE)
    return found.x.reshape(shape)
