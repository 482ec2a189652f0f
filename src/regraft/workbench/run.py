"""A finished run: the event that ends a fit, and the run opened again, its folder, recipe, report, log and model."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.errors import RunError
from regraft.recipe import Recipe, read_recipe
from regraft.values import Prediction, Written

if TYPE_CHECKING:
    from regraft.bundles.bundle import Bundle
    from regraft.reports.report import Report


@dataclass(frozen=True, kw_only=True, eq=False)
class RunDone(Written):
    """The last event of a fit."""

    report: "Report"
    """What `report.json` holds."""


@dataclass(frozen=True)
class Run:
    """A folder that `fit` wrote."""

    path: Path
    """The folder."""

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, every default filled in."""
        return read_recipe(self.path / "recipe.toml")

    @cached_property
    def report(self) -> "Report":
        """What report.json holds.

        Raises:
            RunError: it is damaged, or of another version of regraft.
        """
        from regraft.reports.report import read_report

        return read_report(self.path)

    @cached_property
    def model(self) -> "Bundle":
        """The model, its digests checked and its golden inputs replayed once."""
        from regraft.bundles.bundle import load

        return load(self.path)

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.path / "report.md"

    def verdict(self) -> str:
        """What the run came to, in a few sentences."""
        from regraft.reports.verdict import verdict

        return verdict(self.report)

    def events(self) -> Iterator[Mapping[str, Any]]:
        """What happened, in order; a last line that was cut off by a kill is left out."""
        with (self.path / "events.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    def predict(self, inputs: Iterable[Any], *, abstain: float | None = None) -> list[Prediction]:
        """What the model says of each input, in their order; `Bundle.stream` says what an input may be."""
        return self.model.predict(inputs, abstain=abstain)


def open_run(path: str | Path) -> Run:
    """The finished run in the folder `path`.

    Raises:
        RunError: there is no run, or it is unfinished.
    """
    folder = Path(path)
    if (folder / "report.json").is_file():
        return Run(folder)
    if (folder / "begun.json").is_file():
        raise RunError(f"{folder} holds an unfinished run.", fix="finish it: start it again with resume.")
    raise RunError(f"{folder} holds no run: there is no report.json.", fix="give the folder that fit wrote.")
