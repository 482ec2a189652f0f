"""Feature extraction: nothing is retrained, the head is solved to its optimum on the stored top state.

For a classification that is multinomial logistic regression, for numbers ridge regression; the regularisation is chosen
by cross-validation on the training examples, whose out-of-fold logits come with it. Imports no torch.

Source: Alain & Bengio 2016, arXiv:1610.01644 (linear probes); Kornblith et al. 2019, arXiv:1805.08974 (the protocol).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from regraft.activations.slots import averaged, numbered
from regraft.contracts.strategy import Fitted, Needs, Preset, Problem, Ranges, Strategy, check_ranges
from regraft.errors import BadRequest
from regraft.identity import derive_seed
from regraft.tasks.linear import LinearTask, solve
from regraft.tasks.rows import STREAM_ABOVE, RowSource, outputs_of
from regraft.values import Event, drained


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe may set for `probe`."""

    folds: int = 5
    """Folds of the cross-validation that chooses the penalty, 2 or more; fewer where a class has fewer examples."""
    c: float = 0.0
    """Inverse strength of the penalty on standardised features, as in scikit-learn; 0: chosen by cross-validation."""
    balanced: bool = False
    """Whether every class weighs the same in the loss, however frequent it is; only where there are classes."""

    RANGES: ClassVar[Ranges] = (("2 or more", "folds"), ("0 or more", "c"))


HEAD_EPOCHS, HEAD_STEPS = 60, 600
"""Passes and steps at least of a head that cannot be solved; few examples want many passes (our choice)."""

PRESETS = {"probe": Preset(title="the head alone, on frozen features", cut="output", options={}, views=1)}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Solve the head on the top states of `problem.train`, all their views; returns the model.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: the head's view is not a vector.
        BadData: features are not finite.
    """
    check_ranges(options)
    if problem.task.closed_form:
        return _in_closed_form(problem)
    if not isinstance(problem.task, LinearTask):
        return (yield from _head_only(problem))
    train, num_views = problem.train, problem.top.num_views or 1
    targets, groups = problem.targets[train], problem.groups[train]
    dealt = None
    if len(np.unique(groups)) > 1:
        dealt = problem.task.deal(targets, groups, options.folds, derive_seed(problem.seed, "probe", "folds"))
    head = solve(
        problem.task.solved_loss(targets, balanced=options.balanced),
        features_of(problem, train, num_views),
        num_views=num_views,
        fold_of=dealt.of_example if dealt and dealt.num_folds else None,
        c=options.c,
    )
    return Fitted(
        tensors={"head/weight": head.weight, "head/bias": head.bias},
        logits=lambda asked, positions: outputs_of(features_of(asked, positions), head.weight, head.bias),
        features=features_of,
        out_of_fold=head.out_of_fold,
        facts={
            **head.facts,
            "examples": len(train),
            "views": num_views,
            "folds": dealt.num_folds if dealt else 0,
            "note": dealt.note if dealt else "All examples are of one group, so there were no folds.",
        },
    )


def _in_closed_form(problem: Problem) -> Fitted:
    """The head as its task solves it, run by torch."""
    from regraft.strategies import finetune
    from regraft.strategies._checkpoint import fitted_of
    from regraft.strategies.training import new_tail

    train, num_views = problem.train, problem.top.num_views or 1
    rows = features_of(problem, train, num_views)[0 : len(train) * num_views]
    tensors, facts = problem.task.solved(rows, np.repeat(problem.targets[train], num_views), problem.seed)
    tail = new_tail(replace(problem, cut="output"), finetune.Options(), batch_norm="frozen")
    return fitted_of(tail, {f"head/{name}": array for name, array in tensors.items()}, facts)


def _head_only(problem: Problem) -> Generator[Event, None, Fitted]:
    """The head trained by steps on the untouched top states, for a task whose head cannot be solved."""
    from regraft.strategies import finetune

    at_top = replace(problem, cut="output", states=problem.top, folder=None)
    epochs, steps = (problem.task.head_epochs, 0) if problem.task.head_epochs else (HEAD_EPOCHS, HEAD_STEPS)
    # Our choice: a learning rate for heads alone.
    options = finetune.Options(lr=3e-3, head_lr_factor=1.0, epochs=epochs, min_steps=steps, batch_norm="frozen")
    return (yield from finetune.fit(at_top, options))


def fit_beside(problem: Problem, tuned: Problem) -> Generator[Event, None, Fitted]:
    """The probe that a tuned model is compared with. A head that takes steps is not trained a second time where tuning
    started from it, and nothing validates: it would be the same."""
    start = vars(tuned).get("start")
    again = isinstance(problem.task, LinearTask) or len(tuned.val) or not np.array_equal(problem.train, tuned.train)
    return (yield from fit(problem, Options())) if start is None or again else start


def with_start(problem: Problem, needs: Needs) -> Problem:
    """The same problem with the probe that training may start from, where a strategy needs it: solved on the training
    examples, when it is first asked for; solved again for a part of the problem (a fold)."""
    return replace(problem, solve_start=partial(start_of, balanced=needs.balanced)) if needs.start else problem


def start_of(problem: Problem, *, balanced: bool = False) -> Fitted:
    """The probe solved on the training examples of `problem`, with the defaults."""
    return drained(fit(problem, Options(balanced=balanced)))


def features_of(problem: Problem, positions: Int[np.ndarray, "n"], num_views: int = 1) -> RowSource:
    """The head's view of the top state (n * views, d), an example's views side by side; that of its pieces averaged,
    which a linear head takes to the average of their logits.

    In memory, or to be read by row where it passes 1 GB.
    """
    width = problem.backbone.card.width
    examples, views = np.repeat(positions, num_views), np.tile(np.arange(num_views), len(positions))
    if 4 * width * len(examples) > STREAM_ABOVE:
        return _Streamed(problem, examples, views)
    array = _of_examples(problem, examples, views)
    if array.ndim != 2:
        raise BadRequest(
            f"A probe needs vectors, but the view {problem.task.reads.readout!r} has rows of shape {array.shape[1:]}.",
            fix="use finetune for this task.",
        )
    return array


def _of_examples(problem: Problem, examples: Int[np.ndarray, "r"], views: Int[np.ndarray, "r"]) -> np.ndarray:
    counts = problem.top.pieces_of(examples)
    rows = (np.repeat(examples, counts), np.repeat(views, counts), numbered(counts))
    return averaged(problem.top.batch(*rows)[problem.task.reads.readout], counts)


class _Streamed:
    """The head's view of many rows, read from the top states when it is sliced."""

    def __init__(self, problem: Problem, examples: Int[np.ndarray, "r"], views: Int[np.ndarray, "r"]) -> None:
        self._problem = problem
        self._examples, self._views = examples, views
        self.shape = (len(examples), problem.backbone.card.width)

    def __getitem__(self, rows: slice | Int[np.ndarray, "b"]) -> np.ndarray:
        return _of_examples(self._problem, self._examples[rows], self._views[rows])


ENTRY = Strategy(Options=Options, presets=PRESETS, fit=fit, solved=True)
