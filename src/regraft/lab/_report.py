"""What a study came to, as plain values: arms with their costs, effects with intervals, the verdict.

Effects are differences of two arms, paired by seed and test example. Letters: s seeds, n test examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.study import MEASURES, RANGES, Effect, Measure, Outcome, Study
from regraft.evaluation.differences import crossed
from regraft.lab._arms import Cost
from regraft.lab._cells import Cell
from regraft.lab.kept import Row, unpacked
from regraft.lab.setting import Examples, Setting
from regraft.values import Measured
from regraft.version import VERSION

Resolved = Literal["as claimed", "not here", "open", "not run"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of an effect."""

    effect: Effect
    """Which."""
    size: int | None
    """Training examples of a class; None where it is counted."""
    difference: Measured | None
    """The arm less the other, with its interval; None where no seed was run for both."""
    num_seeds: int
    """Seeds run for both."""

    @property
    def resolved(self) -> Resolved:
        """Whether it bears the claim out."""
        found, effect = self.difference, self.effect
        if found is None:
            return "not run"
        exact = self.size is None
        low, high = (found.value, found.value) if exact else (found.low, found.high)
        if low is None or high is None:
            return "open"
        if low > effect.above:
            return "as claimed"
        return "not here" if high < effect.above + effect.worth or exact else "open"


def found_of(
    effects: Sequence[Effect],
    rows: Sequence[Row],
    costs: Mapping[str, Cost],
    sizes: Sequence[int],
    units: Int[np.ndarray, " n"] | None,
) -> list[Found]:
    """Every effect, as far as the rows go. `units` are the groups of the test examples."""
    found = []
    for effect in effects:
        if effect.measure in ("parameters", "multiply_adds"):
            plus, minus = (getattr(costs[name], effect.measure) for name in (effect.plus, effect.minus))
            exact = Measured(value=plus / minus, method="counted")
            found.append(Found(effect=effect, size=None, difference=exact, num_seeds=0))
            continue
        size = sizes[effect.size]
        plus_rows, minus_rows = ({row["seed"]: row for row in rows if row["arm"] == name and row["size"] == size}
                                 for name in (effect.plus, effect.minus))  # fmt: skip
        tables = [(table(plus_rows[seed], effect.measure), table(minus_rows[seed], effect.measure))
                  for seed in sorted(plus_rows.keys() & minus_rows.keys())]  # fmt: skip
        known = [(one, other) for one, other in tables if one is not None and other is not None]
        difference = None
        if known:
            values = np.stack([one - other for one, other in known])
            groups = units if effect.measure in ("accuracy", "gap") else None
            least, most = RANGES.get(effect.measure, (-inf, inf))
            difference = crossed(values, groups=groups, bounds=(least - most, most - least))
        found.append(Found(effect=effect, size=size, difference=difference, num_seeds=len(known)))
    return found


def table(row: Row, measure: Measure) -> Float[np.ndarray, " n"] | None:
    """What one cell says of every test example, or one number; None where it was not measured."""
    if measure == "accuracy":
        return np.array(unpacked(row["right"]))
    if measure == "gap":
        return float(row["train_accuracy"]) - np.array(unpacked(row["right"]))
    if measure == "transfer":
        return np.array(unpacked(row["transfer"])) if "transfer" in row else None
    if "gradients" not in row:
        return None
    return np.array([signal(row["gradients"])])


def signal(gradients: Mapping[str, Sequence[float]]) -> float:
    """log10 of the gradient's size in the lowest third of the stages relative to the highest, means over training."""
    sizes = [max(float(np.mean(one)), 1e-30) for one in gradients.values()]
    third = max(1, len(sizes) // 3)
    return float(np.mean(np.log10(sizes[:third])) - np.mean(np.log10(sizes[-third:])))


TOLD = {"as claimed": "Borne out", "not here": "not here", "open": "not resolved", "not run": "not run"}


def told(found: Sequence[Found]) -> str:
    """Which of the key effects came out how, in one sentence."""
    parts = []
    for resolved, title in TOLD.items():
        names = [one.effect.name for one in found if one.effect.key and one.resolved == resolved]
        parts += [f"{title}: {', '.join(names)}"] if names else []
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def outcome_of(found: Sequence[Found]) -> Outcome:
    """Borne out where every key effect is; not here where those that are resolved speak against it; else in part, or
    not resolved where no measured one is.

    An effect that is only counted resolves nothing alone: that a network is cheaper is no claim about what it does.
    """
    key = [one for one in found if one.effect.key]
    measured = [one.resolved for one in key if one.size is not None]
    said = [one.resolved for one in key]
    if all(one == "as claimed" for one in said):
        return "as claimed"
    if all(one in ("open", "not run") for one in measured):
        return "not resolved at this scale"
    if all(one != "as claimed" for one in measured):
        return "not here"
    return "in part"


UNBOUNDED = (-inf, inf)


def report_of(
    name: str,
    study: Study,
    setting: Setting,
    examples: Examples,
    costs: Mapping[str, Cost],
    rows: Sequence[Row],
    cells: Sequence[Cell],
    machine: str,
) -> dict[str, Any]:
    """The report of the cells that were run; those that were not are listed."""
    done = [row for row in rows if "failed" not in row]
    have = [(row["arm"], row["size"], row["seed"]) for row in rows]
    found = found_of(study.effects, done, costs, examples.sizes, examples.units)
    outcome = outcome_of(found)
    return {
        "study": name,
        "version": VERSION,
        **{field: getattr(study, field) for field in ("title", "claim", "source", "measurement")},
        "setting": asdict(setting),
        "machine": machine,
        "data": dict(examples.facts),
        "sizes": sorted({cell.size for cell in cells}, reverse=True),
        "arms": [_arm(study, arm.name, costs, done, examples) for arm in study.arms],
        "effects": [
            {
                **asdict(one.effect),
                "size": one.size,
                "difference": one.difference and asdict(one.difference),
                "num_seeds": one.num_seeds,
                "resolved": one.resolved,
            }
            for one in found
        ],
        "outcome": outcome,
        "verdict": f"{study.says[outcome]} {told(found)}",
        "gradients": _gradients(study, done),
        "failed": [{"cell": _named(row), "message": row["failed"]} for row in rows if "failed" in row],
        "not_run": [_named(cell.key) for cell in cells if (cell.arm, cell.size, cell.seed) not in have],
        "num_cells": len(cells),
        "measures": {effect.measure: MEASURES[effect.measure] for effect in study.effects},
    }


def _arm(study: Study, name: str, costs: Mapping[str, Cost], rows: Sequence[Row], examples: Examples) -> dict[str, Any]:
    arm, cost = study.arm(name), costs[name]
    mine = [row for row in rows if row["arm"] == name]
    trained_sides = bool(arm.options.get("side_heads"))
    return {
        "name": name,
        "title": arm.title,
        "same": arm.same,
        "options": dict(arm.options),
        "width": cost.widths.body,
        "stem_width": cost.widths.stem,
        "parameters": cost.parameters,
        "side_parameters": cost.side_parameters if trained_sides else 0,
        "multiply_adds": cost.multiply_adds,
        "seconds": float(np.median([row["seconds"] for row in mine])) if mine else None,
        "figures": [_figures(mine, size, examples) for size in sorted({row["size"] for row in mine}, reverse=True)],
    }


def _figures(rows: Sequence[Row], size: int, examples: Examples) -> dict[str, Any]:
    chosen = sorted((row for row in rows if row["size"] == size), key=lambda row: row["seed"])
    figures: dict[str, Any] = {
        "size": size,
        "seeds": [row["seed"] for row in chosen],
        "train_accuracy": float(np.mean([row["train_accuracy"] for row in chosen])),
        "losses": np.mean([row["losses"] for row in chosen], axis=0).tolist(),
    }
    measures: tuple[Measure, ...] = ("accuracy", "gap", "transfer", "signal")
    for measure in measures:
        tables = [one for row in chosen if (one := table(row, measure)) is not None]
        groups = examples.units if measure in ("accuracy", "gap") else None
        figures[measure] = (
            asdict(crossed(np.stack(tables), groups=groups, bounds=RANGES.get(measure, UNBOUNDED))) if tables else None
        )
    return figures


def _gradients(study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """By arm and stage the mean over seeds of the gradient's size, by span of steps."""
    if not study.gradients:
        return {}
    found: dict[str, Any] = {}
    for arm in study.arms:
        mine = [row["gradients"] for row in rows if row["arm"] == arm.name]
        if mine:
            found[arm.name] = {stage: np.mean([one[stage] for one in mine], axis=0).tolist() for stage in mine[0]}
    return found


def _named(key: Mapping[str, Any]) -> str:
    return f"{key['arm']}, {key['size']} a class, seed {key['seed']}"
