"""Numbers of a fitted model: evaluation by part, calibration, the probe beside it, and what storing cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import main_metric
from regraft.evaluation.calibration import Calibration, calibrate
from regraft.evaluation.gap import Part, difference
from regraft.evaluation.paired import compare
from regraft.evaluation.report import as_json, evaluate
from regraft.evaluation.thresholds import Scored
from regraft.workbench._predictions import Answer
from regraft.workbench.session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Logits of one model on some examples."""

    positions: Int[np.ndarray, "n"]
    """Which examples."""
    logits: Float[np.ndarray, "n c"]
    """Their logits, on the plain view."""


def calibration_of(session: Session, held: Scores | None) -> Calibration | None:
    """The temperature from logits of examples the model never saw; None where there are none, or no probabilities."""
    if held is None or len(held.positions) < 10:
        return None
    stated = session.task.stated(held.logits, session.targets[held.positions])
    if stated is None:
        return None
    logits, truth, of_example = stated
    return calibrate(logits, truth, groups=session.splits.groups[held.positions][of_example], seed=session.recipe.seed)


def evaluation_of(session: Session, scores: Scores, temperature: float, held: Scores | None) -> Any:
    """All metrics with intervals, as JSON; thresholds of two classes, or of tags, are chosen on `held`."""
    return evaluate(
        session.targets[scores.positions],
        session.task.outputs(scores.logits, temperature),
        session.task.classes,
        kind=session.task.kind,
        trained_on=session.targets[session.splits.train],
        groups=session.user_groups(scores.positions),
        chosen_on=() if held is None else _chosen_on(session, held, temperature),
        rules=session.rules,
        seed=session.recipe.seed,
    ).to_json()


def _chosen_on(session: Session, held: Scores, temperature: float) -> tuple[Scored, ...]:
    """The examples to choose thresholds on: those of the second of two classes, or those of every tag."""
    task = session.task
    targets, outputs = session.targets[held.positions], task.outputs(held.logits, temperature)
    groups = session.user_groups(held.positions)
    if task.kind == "multilabel":
        columns = [(targets[:, at] > 0, outputs[:, at]) for at in range(len(task.classes))]
    elif task.kind == "classification" and len(task.classes) == 2:
        columns = [(targets == 1, outputs[:, 1])]
    else:
        return ()
    return tuple(Scored(positive=positive, scores=scores, groups=groups) for positive, scores in columns)


def gaps_of(session: Session, by_part: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """How the main metric worsens from the training examples to those the model never saw."""
    metric, parts = (
        main_metric(session.task.kind).name,
        {
            name: Part(
                targets=session.targets[scores.positions],
                outputs=session.task.outputs(scores.logits),
                groups=session.user_groups(scores.positions),
            )
            for name, scores in by_part.items()
        },
    )
    return [
        {"from": one, "to": other, "metric": metric,
         "worse_by": as_json(difference(parts[one], parts[other], metric=metric, seed=session.recipe.seed))}
        for one, other in pairwise(parts)
    ]  # fmt: skip


def paired_with_probe(
    session: Session, tuned: Scores, probe: Scores, temperatures: tuple[float, float], name: str
) -> Any:
    """The difference from the linear probe on the same examples, as JSON."""
    task = session.task
    return as_json(
        compare(
            session.targets[tuned.positions],
            task.outputs(tuned.logits, temperatures[0]),
            task.outputs(probe.logits, temperatures[1]),
            groups=session.user_groups(tuned.positions),
            metric=main_metric(task.kind).name,
            names=(name, "the linear probe"),
            outputs=task.classes,
            seed=session.recipe.seed,
        )
    )


def answers_of(session: Session, parts: Mapping[str, Scores], temperature: float) -> Iterator[Answer]:
    """What the model said of every example it did not see, for `predictions_table`."""
    for part, scores in parts.items():
        table = session.task.outputs(scores.logits, temperature)
        for position, row in zip(scores.positions, table, strict=True):
            example, target = session.dataset.examples[position], session.targets[position]
            yield Answer(part=part, id=example.id, group=example.group or "", target=np.asarray(target), outputs=row)
