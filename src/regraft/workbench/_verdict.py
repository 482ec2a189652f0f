"""Numbers of a fitted model: evaluation by part, calibration, the probe beside it, and what storing cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.contracts.metric import Sample, main_metric
from regraft.evaluation.calibration import Calibration, calibrate
from regraft.evaluation.differences import compare, difference
from regraft.evaluation.report import as_json, evaluate
from regraft.workbench._predictions import Answer
from regraft.workbench.session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Logits of one model on some examples."""

    positions: Int[np.ndarray, "n"]
    """Which examples."""
    logits: np.ndarray
    """Their raw outputs on the plain view: logits (n c), or records (n)."""


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
    """All metrics with intervals, as JSON; decision thresholds are chosen on `held`."""
    tested = _sample(session, scores, temperature)
    return evaluate(
        tested.targets,
        tested.outputs,
        session.task.classes,
        kind=session.task.kind,
        trained_on=session.targets[session.splits.train],
        groups=tested.groups,
        held=None if held is None else _sample(session, held, temperature),
        rules=session.rules,
        seed=session.recipe.seed,
    ).to_json()


def _sample(session: Session, scores: Scores, temperature: float = 1.0) -> Sample:
    return Sample(
        targets=session.targets[scores.positions],
        outputs=session.task.outputs(scores.logits, temperature),
        groups=session.user_groups(scores.positions),
    )


def gaps_of(session: Session, by_part: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """How the main metric worsens from the training examples to those the model never saw."""
    metric = main_metric(session.task.kind).name
    parts = {name: _sample(session, scores) for name, scores in by_part.items()}
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
