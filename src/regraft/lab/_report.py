"""What a study came to, as plain values: arms with their costs, effects with intervals, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf
from typing import Any

import numpy as np

from regraft.contracts.study import MEASURES, RANGES, Effect, Measure, Study
from regraft.evaluation.repeats import crossed
from regraft.lab._cells import Cell
from regraft.lab._costs import Cost
from regraft.lab._effects import Found, found_of, table
from regraft.lab._examples import Examples
from regraft.lab._kept import Row
from regraft.lab._setting import Setting
from regraft.lab._verdict import outcome_of, told
from regraft.values import Measured
from regraft.version import VERSION

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
        "effects": [_effect(one) for one in found],
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


def _effect(found: Found) -> dict[str, Any]:
    effect: Effect = found.effect
    return {
        **asdict(effect),
        "size": found.size,
        "difference": asdict(found.difference) if isinstance(found.difference, Measured) else None,
        "num_seeds": found.num_seeds,
        "resolved": found.resolved,
    }


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
