"""Lab: a claim about architectures, re-measured."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regraft.contracts.study import STUDIES, Study
from regraft.errors import BadRequest
from regraft.files import write_text
from regraft.lab.run import StudyDone, Where, run
from regraft.lab.setting import SETTINGS, SMALL, Setting
from regraft.reports.lab import page
from regraft.reports.lab_plots import plots
from regraft.values import Event
from regraft.words import counted
from regraft.workbench._lab_data import open_examples
from regraft.workbench._machine import choose_device, num_threads

__all__ = ["SETTINGS", "StudyDone", "StudyFacts", "lab", "studies"]


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """A study on the shelf."""

    name: str
    """What `lab` takes."""
    title: str
    """What is asked."""
    claim: str
    """What is claimed."""
    source: str
    """By whom."""


def studies() -> list[StudyFacts]:
    """Every study there is."""
    found: list[tuple[str, Study]] = [(name, STUDIES.get(name)) for name in STUDIES]
    return [StudyFacts(name=name, title=one.title, claim=one.claim, source=one.source) for name, one in found]


def lab(
    name: str,
    *,
    out: Path,
    data: Path | None = None,
    setting: Setting = SMALL,
    seeds: int | None = None,
    max_seconds: float | None = None,
    resume: bool = False,
    publish: Path | None = None,
    allow_leaks: bool = False,
    device: str = "auto",
    threads: int = 0,
) -> Iterator[Event]:
    """Train the arms of the study called `name` and say what follows; yields events, the last a `StudyDone`.

    `data` None is the corpus. `publish` is a folder in which the page is written as `lab_NAME.md` too, with its plots.
    `SETTINGS` are those that have a name.

    Raises:
        UnknownName: there is no such study.
        BadRequest: the seeds are none.
        BadData: there are no data.
        RunError: the folder holds something else, or this study and `resume` is not set.
    """
    study: Study = STUDIES.get(name)
    if seeds is not None:
        if seeds < 1:
            raise BadRequest(f"seeds is {seeds}; 1 or more is expected.", fix="give 3 or more for intervals.")
        setting = replace(setting, seeds=seeds)
    if not study.transfer:  # no class need be kept from training
        setting = replace(setting, num_others=0)
    device, threads = choose_device(device), num_threads(threads)
    if device == "cpu":
        import torch

        torch.set_num_threads(threads)
    views_on = device if device.startswith("cuda") else ""
    examples = yield from open_examples(data, setting, threads=threads, allow_leaks=allow_leaks, views_on=views_on)
    where = Where(folder=out, device=device, machine=_machine(device, threads), max_seconds=max_seconds, resume=resume)
    try:
        for event in run(name, study, setting, examples, where):
            if isinstance(event, StudyDone):
                _write(out, "", event.report)
                if publish is not None:
                    _write(publish, f"lab_{name}", event.report)
            yield event
    finally:
        examples.states.close()


def _write(folder: Path, stem: str, report: Any) -> None:
    """The page and its plots; with a stem, all their names begin with it."""
    drawn = {f"{stem}_{name}" if stem else name: text for name, text in plots(report).items()}
    for name, text in drawn.items():
        write_text(folder / f"{name}.svg", text)
    write_text(folder / f"{stem or 'report'}.md", page(report, [f"{name}.svg" for name in drawn]))


def _machine(device: str, threads: int) -> str:
    if device == "cpu":
        return f"{platform.machine()} CPU, {counted(threads, 'thread')}"
    import torch

    return str(torch.cuda.get_device_name()) if device.startswith("cuda") else device
