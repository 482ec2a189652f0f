"""Metrics of extractive question answering, as the official evaluation of SQuAD 2.0 computes them.

A target is a list of answers with `text`, empty if there is no answer; an output has a `text`, empty if none is given.
Of several correct answers, the one most similar to the prediction counts.

Source: Rajpurkar et al. 2018, arXiv:1806.03822; evaluate-v2.0.py (the figures of version 1.1 are the same but for texts
of articles and punctuation alone). Letters: n examples.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.contracts.page import Block, Context, Table
from regraft.evaluation.intervals import Statistic, bootstrap
from regraft.evaluation.metrics._common import safe_ratio
from regraft.tasks.answers import exact, overlap, truths
from regraft.values import Measured


def each(targets: Any, outputs: Any, like: Callable[[str, str], float]) -> Float[np.ndarray, " n"]:
    """Return the score of each answer, in [0, 1]."""
    return np.array(
        [
            max(like(truth, one["text"]) for truth in truths([answer["text"] for answer in answers]))
            for answers, one in zip(targets, outputs, strict=True)
        ],
        dtype=np.float64,
    )


def summed(targets: Any, outputs: Any, like: Callable[[str, str], float]) -> Float[np.ndarray, "n 2"]:
    """Return the score of each example, and a 1 to count."""
    return np.column_stack([each(targets, outputs, like), np.ones(len(targets))])


def matched(targets: Any, outputs: Any) -> Bool[np.ndarray, " n"]:
    """Return which answers match exactly."""
    return each(targets, outputs, exact) > 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Results of one kind of question."""

    name: str
    questions: int
    answered: int
    """Number of questions with a predicted answer."""
    exact_match: Measured
    answer_f1: Measured


@dataclass(frozen=True, kw_only=True)
class AnswerFigures(Figures):
    """Results of questions with and without an answer."""

    kinds: tuple[Kind, ...] = ()

    def blocks(self, of: Context) -> Iterator[Block]:
        """Return one table."""
        rows = [
            (one.name, f"{one.questions:,}", f"{one.answered:,}", one.exact_match.told(), one.answer_f1.told())
            for one in self.kinds
        ]
        how = (
            "As in the official SQuAD evaluation, case, punctuation, articles and spaces are ignored; F1 compares "
            "the words of both answers. Of several correct answers, the most similar one counts. If a question has no "
            "answer, returning none is correct."
        )
        yield Block("Answers", (how, Table(("Questions", "number", "answered", "exact match", "F1"), rows)))


def figures_of_answers(tested: Tested) -> AnswerFigures:
    """Return the results of both kinds, all intervals from the same resamples."""
    there = np.array([bool(answers) for answers in tested.targets])
    given = np.array([bool(one["text"]) for one in tested.outputs])
    sides = {"with an answer in the context": there, "without": ~there}
    found = {"exact_match": exact, "answer_f1": overlap}
    statistics = {
        f"{name} {key}": Statistic(
            of_weights=partial(_mean, values=each(tested.targets, tested.outputs, like), kept=kept),
            bounds=(0.0, 1.0), undefined="there is no such question",
        )
        for name, kept in sides.items() if kept.any() for key, like in found.items()
    }  # fmt: skip
    measured = bootstrap(statistics, len(there), **tested.how)
    return AnswerFigures(
        kinds=tuple(
            Kind(
                name=name, questions=int(kept.sum()), answered=int((kept & given).sum()),
                **{key: measured[f"{name} {key}"] for key in found},
            )
            for name, kept in sides.items() if kept.any()
        )
    )  # fmt: skip


def _mean(weights: Float[np.ndarray, "b n"], values: np.ndarray, kept: np.ndarray) -> Float[np.ndarray, " b"]:
    return safe_ratio(weights @ (values * kept), weights @ kept.astype(np.float64))


_metric = partial(
    Metric,
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=frozenset({"span"}),
    value=lambda sums: sums[:, 0] / sums[:, 1],
)
KINDS = ("span",)
NAMES = ("answer_f1", "exact_match")
ENTRIES = {
    "answer_f1": _metric(
        name="answer_f1",
        title="F1 of the answers' words",
        statistics=partial(summed, like=overlap),
        main=frozenset({"span"}),
        figures=figures_of_answers,
    ),
    "exact_match": _metric(
        name="exact_match",
        title="Exact match",
        statistics=partial(summed, like=exact),
        right=matched,
        interval="wilson",
    ),
}
