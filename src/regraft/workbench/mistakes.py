"""Mistakes: wrongly predicted examples of a run's evaluation, most confident first, with previews."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from regraft.contracts.example import Content, File, Labelling, as_records
from regraft.contracts.metric import main_metric, metrics_for
from regraft.contracts.modality import MODALITIES, Modality
from regraft.contracts.task import TASKS
from regraft.errors import BadData, RunError, Undecodable
from regraft.reports.report import read_report
from regraft.values import drained
from regraft.words import joined
from regraft.workbench.recipes import recipe_for
from regraft.workbench.run import Predictions, read_predictions
from regraft.workbench.session import opening

HELD = 64
"""Number of cached previews: most are requested twice, for their type and their content."""

OVERLAY_PX = 264
"""Longer side of examples with what was predicted drawn over them."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrongly predicted example."""

    id: str
    """Its id in the data."""
    label: str
    """Its label."""
    predicted: str
    """The prediction."""
    stated: Mapping[str, float]
    """Predicted probabilities or values by name, highest first; empty for structured outputs."""


def mistakes(run: Path) -> list[Mistake]:
    """Return the mistakes of a finished run on its main split: for classes, most confident first; for values, largest
    errors first, in units of each target's standard deviation.

    Raises:
        RunError: there is no finished run, or it has no evaluation.
    """
    report = read_report(run)
    if report.section is None:
        raise RunError(f"{run.name} has no predictions to show. {report.untested}", fix="see its report.")
    return ranked(read_predictions(run / "predictions.csv", report.main, report.data.kind, report.data.classes))


def ranked(found: Predictions) -> list[Mistake]:
    """Return the mistakes among predictions, in the same order."""
    said, kind = found.task.decode(found.outputs), found.task.kind
    same = np.array([one == label for one, label in zip(said, found.labels, strict=True)], dtype=bool)
    outputs = list[dict[str, float]]()
    if found.task.answers == "structured":
        # by all metrics that can be told of one example, as shares of their ranges
        rated = [
            one.value(one.statistics(found.targets, found.outputs)) * (1 if one.higher_is_better else -1) / one.range[1]
            for one in metrics_for(kind).values()
            if one.statistics and one.value
        ]
        if not rated and marking(found.task):  # the average precision in each image alone
            alone = ([found.targets[at : at + 1], found.outputs[at : at + 1]] for at in range(len(said)))
            rated = [np.array([main_metric(kind).compute(*one) for one in alone])]
        far, outputs = -np.nan_to_num(np.mean(rated or [np.zeros(len(said))], axis=0)), [{} for _ in said]
        judged = next((one.right for one in metrics_for(kind).values() if one.right), None)
        if judged is not None and (right := judged(found.targets, found.outputs)) is not None:
            same = right
    else:
        names = found.task.classes
        outputs = [dict(zip(names, map(float, row), strict=True)) for row in found.outputs]
        if found.task.answers == "values":
            scale = found.targets.std(axis=0) + 1e-12
            far = np.abs((found.outputs - found.targets) / scale).reshape(len(said), -1).max(axis=1)
        else:
            far = found.outputs.reshape(len(said), -1).max(axis=1)
    wrong = [at for at in np.argsort(-far, kind="stable").tolist() if not same[at]]
    return [
        Mistake(
            id=found.ids[at],
            label=joined(found.task.named(found.labels[at])) if marking(found.task) else found.labels[at],
            predicted=said[at],
            stated=dict(sorted(outputs[at].items(), key=lambda one: -one[1])),
        )
        for at in wrong
    ]


def marking(task: Labelling) -> bool:
    """Whether predictions mark something in their examples."""
    return type(task).marks is not Labelling.marks


def look(modality: Modality, content: Content, task: Labelling, output: Any = None) -> bytes | str:
    """Return a thumbnail (PNG) or text excerpt of an example, with what a structured `output` marks drawn over it."""
    try:
        if output is not None and marking(task):
            (record,) = task.recorded(as_records([output]))
            if (marks := task.marks(record)) is not None:
                return modality.marked(content, marks, OVERLAY_PX)[".overlay.png"]
        return modality.preview(content)
    except Undecodable as error:
        return error.reason


class Looks:
    """Previews of examples of a run's data; masks and boxes that were predicted are drawn over them."""

    def __init__(self, run: Path) -> None:
        """Raises `BadData` if the data have moved."""
        recipe = recipe_for(run / "recipe.toml", {})
        dataset = drained(
            opening(
                Path(recipe.data), recipe.source, modality=recipe.modality, task=recipe.task, target=recipe.target,
                learnable=False,
            )
        )  # fmt: skip
        self._modality = MODALITIES.get(dataset.modality)
        self._contents: dict[str, Content] = {one.id: one.content for one in dataset.examples}
        self._task, self._outputs, table = TASKS.get(dataset.kind)(dataset.classes), {}, run / "predictions.csv"
        if marking(self._task) and table.is_file():
            report = read_report(run)
            found = read_predictions(table, report.main, report.data.kind, report.data.classes)
            self._task, self._outputs = found.task, dict(zip(found.ids, found.outputs, strict=True))
        self._seen = lru_cache(maxsize=HELD)(self._look)

    def preview(self, name: str) -> bytes | str:
        """Return a thumbnail (PNG) or text excerpt of the example `name`.

        Raises:
            BadData: there is no such example.
        """
        if name not in self._contents:
            raise BadData(
                f"The data no longer contain the example {name!r}.", fix="the data have changed since the run."
            )
        return self._seen(name)

    def file(self, name: str) -> Path | None:
        """Return the file of an example; None if it is not a file of its own."""
        content = self._contents.get(name)
        return content.path if isinstance(content, File) else None

    def _look(self, name: str) -> bytes | str:
        return look(self._modality, self._contents[name], self._task, self._outputs.get(name))
