"""Feature extraction: the network is not retrained; the head is solved to its optimum on the stored readouts.

For classification this is multinomial logistic regression, for regression ridge regression. The regularisation strength
is chosen by cross-validation on the training examples, which also yields out-of-fold logits. Does not import torch.

Source: Alain & Bengio 2016, arXiv:1610.01644 (linear probes); Kornblith et al. 2019, arXiv:1805.08974 (the protocol).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

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
    """Options of `probe`."""

    folds: int = 5
    """Folds of the cross-validation that chooses the regularisation, 2 or more; fewer if a class has fewer examples."""
    c: float = 0.0
    """Inverse regularisation strength on standardised features, as in scikit-learn; 0: chosen by cross-validation."""
    balanced: bool = False
    """Whether classes are weighted equally in the loss, regardless of their frequency; for classification only."""

    RANGES: ClassVar[Ranges] = (("2 or more", "folds"), ("0 or more", "c"))


HEAD_EPOCHS, HEAD_STEPS = 60, 600
"""Minimum epochs and steps for heads without a solver; small data sets need many passes (our choice)."""

PRESETS = {"probe": Preset(title="only the head, on frozen features", cut="output", options={}, views=1)}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Solve the head on the readouts of `problem.train`, all views; return the model.

    Raises:
        BadRecipe: an option is out of range.
        BadRequest: the head does not read a vector.
        BadData: features are not finite.
    """
    check_ranges(options)
    if problem.task.ready:
        return _untrained(problem, {}, {"trained": False})
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
            "note": dealt.note if dealt else "All examples belong to one group, so there were no folds.",
        },
    )


def _untrained(
    problem: Problem, tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, on_device: bool = False
) -> Fitted:
    """Return the untouched network with its task's head and these tensors; `on_device`: run on the problem's device."""
    from regraft.strategies import finetune
    from regraft.strategies._checkpoint import fitted_of
    from regraft.strategies._steps import placed
    from regraft.strategies.training import new_tail

    tail = new_tail(replace(problem, cut="output"), finetune.Options(), batch_norm="frozen")
    if on_device:
        placed(tail, problem)
    return fitted_of(tail, tensors, facts)


def _in_closed_form(problem: Problem) -> Fitted:
    """Return the head solved by its task in closed form, run by torch."""
    train, num_views = problem.train, problem.top.num_views or 1
    rows = features_of(problem, train, num_views)[0 : len(train) * num_views]
    tensors, facts = problem.task.solved(rows, np.repeat(problem.targets[train], num_views), problem.seed)
    return _untrained(problem, {f"head/{name}": array for name, array in tensors.items()}, facts)


def _head_only(problem: Problem) -> Generator[Event, None, Fitted]:
    """Train the head on the pretrained network's readouts, for tasks without a solver."""
    from regraft.strategies import finetune

    at_top = replace(problem, cut="output", states=problem.top, folder=None)
    epochs, steps = (problem.task.head_epochs, 0) if problem.task.head_epochs else (HEAD_EPOCHS, HEAD_STEPS)
    # Our choice: a learning rate for heads alone.
    options = finetune.Options(lr=3e-3, head_lr_factor=1.0, epochs=epochs, min_steps=steps, batch_norm="frozen")
    return (yield from finetune.fit(at_top, options))


def unadapted(problem: Problem, positions: Int[np.ndarray, "n"]) -> dict[str, np.ndarray]:
    """Return, by a title, the raw outputs of the network before training, with the output layer that it came with;
    empty without such a layer or weights, or for another task. `problem` is at the cut `output`."""
    card = problem.backbone.card
    if not problem.task.generates or not card.num_source_classes or card.weights == "random":
        return {}
    return {"The network before training": _untrained(problem, {}, {}, on_device=True).logits(problem, positions)}


def fit_beside(problem: Problem, tuned: Problem) -> Generator[Event, None, Fitted]:
    """Fit the probe that a fine-tuned model is compared with. A head trained by steps is not trained twice: if
    fine-tuning started from it, and there is no validation split, it is reused."""
    start = vars(tuned).get("start")
    again = isinstance(problem.task, LinearTask) or len(tuned.val) or not np.array_equal(problem.train, tuned.train)
    return (yield from fit(problem, Options())) if start is None or again else start


def with_start(problem: Problem, needs: Needs) -> Problem:
    """Return the problem with the probe that training starts from, if `needs` ask for one: solved on the training
    examples on first access, and again for each fold."""
    return replace(problem, solve_start=partial(start_of, balanced=needs.balanced)) if needs.start else problem


def start_of(problem: Problem, *, balanced: bool = False) -> Fitted:
    """Solve the probe on the training examples of `problem`, with default options."""
    return drained(fit(problem, Options(balanced=balanced)))


def features_of(problem: Problem, positions: Int[np.ndarray, "n"], num_views: int = 1) -> RowSource:
    """Return the readouts that the head reads (n * views, d), with the views of an example adjacent. Pieces are
    averaged, which for a linear head equals averaging their logits.

    Held in memory, or read by row if larger than 1 GB.
    """
    width = problem.backbone.card.width
    examples, views = np.repeat(positions, num_views), np.tile(np.arange(num_views), len(positions))
    if 4 * width * len(examples) > STREAM_ABOVE:
        return _Streamed(problem, examples, views)
    array = _of_examples(problem, examples, views)
    if array.ndim != 2:
        raise BadRequest(
            f"A probe needs vectors, but the readout {problem.task.reads.readout!r} has shape {array.shape[1:]}.",
            fix="use the strategy finetune for this task.",
        )
    return array


def _of_examples(problem: Problem, examples: Int[np.ndarray, "r"], views: Int[np.ndarray, "r"]) -> np.ndarray:
    counts = problem.top.pieces_of(examples)
    rows = (np.repeat(examples, counts), np.repeat(views, counts), numbered(counts))
    return averaged(problem.top.batch(*rows)[problem.task.reads.readout], counts)


class _Streamed:
    """Readouts of many rows, read from the store when sliced."""

    def __init__(self, problem: Problem, examples: Int[np.ndarray, "r"], views: Int[np.ndarray, "r"]) -> None:
        self._problem = problem
        self._examples, self._views = examples, views
        self.shape = (len(examples), problem.backbone.card.width)

    def __getitem__(self, rows: slice | Int[np.ndarray, "b"]) -> np.ndarray:
        return _of_examples(self._problem, self._examples[rows], self._views[rows])


ENTRY = Strategy(Options=Options, presets=PRESETS, fit=fit, solved=True)
