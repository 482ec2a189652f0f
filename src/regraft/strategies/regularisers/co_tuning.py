"""Co-Tuning: the pretrained classifier is kept and trained along, on the source classes that a target class resembles.

    lambda * 1/b sum_i sum_s -p(s | t_i) log q_s(x_i)

q is the softmax of the source classifier on the features of x_i, t_i its class, p(s | t) the category relationship,
learnt beforehand from what the untouched source classifier says of the training examples (below). The source
classifier learns at the learning rate of the highest stage and is thrown away in the end.

Source: You et al. 2020, "Co-Tuning for Transfer Learning", NeurIPS 2020; lambda = 2.3 is that of the authors' code
(thuml/CoTuning). They calibrate the source classifier on its own validation data; a backbone does not bring those
along, so its probabilities are taken as they are.

Letters: b rows, t target classes, s source classes.

How source classes relate to target classes: p(s | t), from what a source classifier says of labelled examples.

*Reverse*, the paper's own: a logistic regression without intercept from the source classifier's probabilities to the
target classes; asked about a source class alone, it says p(t | s), and Bayes' rule turns that round with p(s), the mean
of the probabilities. Its penalty and the temperature of its logits are chosen on examples left out. *Direct*: the mean
of the probabilities over the examples of a class.

Source: You et al. 2020, "Co-Tuning for Transfer Learning", NeurIPS 2020, and the authors' code (thuml/CoTuning,
`relationship_learning`), which chooses the penalty by the accuracy on one validation split and calibrates there. With
five or ten examples of a class that is chance, so here every example is left out once, and what counts is the log loss
after the best temperature (our choice).

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
"""Folds of the training examples in which the relationship is chosen and calibrated."""
MAX_EXAMPLES = 2000
"""Training examples that the relationship is learnt from, at most (our choice)."""
ROWS = 256
"""Rows that the source classifier is asked about at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Relationship:
    """Which source classes an example of a target class looks like."""

    given_target: Float[np.ndarray, "t s"]
    """p(s | t); rows sum to 1. A class without examples has the mean over all examples."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How it was learnt, as JSON."""
    notes: tuple[str, ...] = ()
    """What the user should know: whole sentences."""


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
    """Take the source classifier, and learn how its classes relate to the new ones."""
    source_head = problem.backbone.fresh_network().source_head
    assert source_head is not None
    found = _learnt(problem, source_head)
    made = CoTuning(source_head.requires_grad_(True), torch.from_numpy(found.given_target.astype(np.float32)), weight)
    made.facts, made.notes = {"source_classes": found.given_target.shape[1], **found.facts}, found.notes
    return made


def _learnt(problem: Problem, source_head: nn.Module) -> Relationship:
    """The relationship from the plain views of the training examples, by folds where there are any."""
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
    """What the untouched source classifier says of the plain views of these examples."""
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
"""Inverse strengths of the penalty that are tried, from strong to weak, as in scikit-learn: the authors' range by whole
decades, without its lowest two, at which the regression no longer tells anything (our choice)."""
TOLERANCE = 1e-6
"""Norm of the gradient of the mean loss at which a solve ends."""
MAX_ITERATIONS = 500
"""Steps after which a solve ends anyway; what is left then changes no digit that matters."""


def direct(said: Float[np.ndarray, "n s"], targets: Int[np.ndarray, "n"], num_classes: int) -> Relationship:
    """The mean of the probabilities over the examples of each class."""
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
    """p(t | s) by a calibrated logistic regression, turned round by Bayes' rule.

    The facts tell its log loss (nats) on examples left out: where it is that of guessing, log t, the source classes say
    nothing of the target classes.
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
    """p(s | t) from p(t | s) and p(s)."""
    joint = (target_given_source * marginal[:, None]).T
    return joint / joint.sum(axis=1, keepdims=True)


def regression(
    said: Float[np.ndarray, "n s"],
    targets: Int[np.ndarray, "n"],
    num_classes: int,
    c: float,
    start: Float[np.ndarray, "t s"] | None,
) -> Float[np.ndarray, "t s"]:
    """Weights of the logistic regression without intercept that minimises the log loss summed times `c`, plus half the
    squared weights; divided by both, so that the solver's steps are of a like size at every `c`."""
    examples, shape = len(targets), (num_classes, said.shape[1])
    shares, penalty = np.full(examples, 1 / examples), 1 / (c * examples)

    def objective(flat: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        weight = flat.reshape(shape)
        value, slopes, _ = softmax_slopes(weight @ said.T, targets, shares)
        return value + 0.5 * penalty * float(flat @ flat), (slopes @ said + penalty * weight).ravel()

    first = np.zeros(shape) if start is None else start
    found = minimise(objective, first.ravel(), max_iterations=MAX_ITERATIONS, gradient_tolerance=TOLERANCE)
    return found.x.reshape(shape)
