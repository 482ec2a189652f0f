"""The command `lab`, and what it prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.doors._errors import if_interrupted
from regraft.doors._tables import WIDTH, aligned
from regraft.doors._terminal import watched
from regraft.errors import BadRequest
from regraft.reports.words import duration, measured
from regraft.values import NOTHING

if TYPE_CHECKING:
    from regraft.workbench.lab import StudyFacts


def lab(
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="reductions, scales …; none: list all.", show_default=False)
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of labelled pictures. Default: the corpus in ../shared.", show_default=False),
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="Six times the training, for hours in the background.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The large setting, for a GPU.")] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds of every arm. Default: 5, and 3 of long.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Train no longer; the rest is marked as not run. 0: write the page.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study. Default: runs/lab/STUDY.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that was stopped.")] = False,
    publish: Annotated[
        Path | None, typer.Option(help="Write the page and its plots here too, as lab_STUDY.md.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.")] = 0,
    allow_leaks: Annotated[bool, typer.Option("--allow-leaks", help="Run although given parts share content.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; errors and results remain.")] = False,
) -> None:
    """Re-measure what is claimed about GoogLeNet.

    Each study trains variants from the same seeds and budget. Without STUDY: what there is.

    \b
    regraft lab reductions
    regraft lab pooling --data photos/ --minutes 30
    """
    from regraft.workbench.lab import SETTINGS, StudyDone, studies
    from regraft.workbench.lab import lab as verb

    if not study:
        print(of_studies(studies()))
        return
    if long and full:
        raise BadRequest("--long and --full are two settings.", fix="give one of them.")
    setting = "long" if long else "full" if full else "small"
    folder = out or Path("runs") / "lab" / (study if setting == "small" else f"{study}-{setting}")
    max_seconds = None if minutes is None else 60 * minutes
    events = verb(
        study, out=folder, data=data, setting=SETTINGS[setting], seeds=seeds, max_seconds=max_seconds,
        resume=resume, publish=publish, allow_leaks=allow_leaks, device=device, threads=threads,
    )  # fmt: skip
    with if_interrupted(f"To go on, start the same command again with: --out {folder} --resume"):
        for event in list(watched(events, quiet=quiet)):
            if isinstance(event, StudyDone):
                verdict = fill(f"{event.report['outcome']}: {event.report['verdict']}", WIDTH)
                print(f"\n{of_study(event.report)}\n\n{verdict}\n\nreport  {event.path / 'report.md'}")


def of_studies(found: "Sequence[StudyFacts]") -> str:
    """Each with its claim."""
    parts = [f"{one.name}\n  {one.title}\n{_wrapped(one.claim)}\n{_wrapped(f'source: {one.source}')}" for one in found]
    return "\n\n".join([*parts, "Each trains for some minutes on two cores: regraft lab NAME"])


def of_study(report: Mapping[str, Any]) -> str:
    """The arms of a study with their costs and accuracies at the largest training size."""
    rows = []
    for arm in report["arms"]:
        figures = arm["figures"][0] if arm["figures"] else {}
        seconds = NOTHING if arm["seconds"] is None else duration(arm["seconds"])
        rows.append([arm["name"], f"{arm['parameters']:,}", f"{arm['multiply_adds'] / 1e6:.1f}",
                     measured(figures.get("accuracy")), seconds])  # fmt: skip
    return aligned(["arm", "parameters", "million multiply-adds", "accuracy", "time"], rows)


def _wrapped(text: str) -> str:
    return indent(fill(text, WIDTH - 2), "  ")
