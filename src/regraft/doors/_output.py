"""The one place that prints what a command found: as text for people, or with `--json` as JSON for programs."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any, TypeVar

from regraft.records import to_json
from regraft.values import NOTHING, shown
from regraft.words import counted, lowered

if TYPE_CHECKING:
    from regraft.reports.report import Report
    from regraft.reports.sweep import SweepReport
    from regraft.workbench.compare import Comparison

Found = TypeVar("Found")

WIDTH = 108
"""Lines of prose are broken after this many characters."""
_SHOWN = ("balanced_accuracy", "log_loss", "macro_auroc", "r2", "quadratic_weighted_kappa")
"""Metrics beside the main one that the table at the end of a fit shows, two at most; more would pass 80 columns."""


def escape_what_an_encoding_lacks() -> None:
    """From here on, printing cannot fail: a character that the encoding of stdout or stderr lacks (`²` in cp1251, or a
    file name that is not valid UTF-8) is written as a backslash escape. A stream that was closed leads nowhere."""
    sys.stdout, sys.stderr = (
        Path(os.devnull).open("w") if stream is None else stream  # noqa: SIM115
        for stream in (sys.stdout, sys.stderr)
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_found(found: Found, as_text: Callable[[Found], str], *, json: bool) -> None:
    """Print `found` as one JSON object, or as text."""
    print(as_json(found, indent=2) if json else as_text(found))


def print_report(
    report: Any,
    folder: Path | None,
    verdict: str,
    blocks: Sequence[str],
    *,
    json: bool,
    model: bool = False,
) -> None:
    """Print what long work came to: `blocks`, a table first, the verdict after it, and the files in `folder`; or, with
    `json`, the report."""
    if json:
        print(as_json({"path": folder, "verdict": verdict, "report": report}, indent=2))
        return
    table, *others = blocks
    print("\n" + "\n\n".join(filter(None, [table, wrapped(verdict), *others])) + "\n")
    if folder is not None:
        print(f"report  {folder / 'report.md'}" + (f"\nmodel   {folder / 'model'}" if model else ""))


def print_run(report: "Report", folder: Path | None, *, json: bool, model: bool = False) -> None:
    """What a fit, an extension or an evaluation found, and where it is kept."""
    from regraft.reports.verdict import refused, verdict

    print_report(report, folder, verdict(report), [figures(report), wrapped(refused(report))], json=json, model=model)


def as_json(found: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII, so that every encoding holds it; numbers that are not finite are null."""
    return json.dumps(to_json(found), indent=indent)


def wrapped(text: str, by: str = "") -> str:
    """A paragraph broken into lines, each indented by `by`; what one would copy, such as a name or a link, is kept."""
    return indent(fill(text, WIDTH - len(by), break_long_words=False, break_on_hyphens=False), by)


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int | None = None) -> str:
    """Columns as wide as their widest cell, two spaces apart, a line under the header.

    The first `left` columns are flush left, those after them, numbers, flush right; None: all flush left.
    """
    table = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    num_left = len(header) if left is None else left
    table.insert(1, ["-" * width for width in widths])
    aligns = [str.ljust if at < num_left else str.rjust for at in range(len(header))]
    return "\n".join(
        "  ".join(align(cell, width) for align, cell, width in zip(aligns, line, widths, strict=True)).rstrip()
        for line in table
    )


def listed(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> str:
    """Names with what belongs to them, the second column aligned, and broken where a line would be too long."""
    found = list(pairs)
    width = max((len(name) for name, _ in found), default=0)
    hanging = " " * (len(indent) + width + 2)
    return "\n".join(
        fill(
            text or NOTHING, WIDTH, initial_indent=f"{indent}{name.ljust(width)}  ", subsequent_indent=hanging,
            break_long_words=False, break_on_hyphens=False,
        )
        for name, text in found
    )  # fmt: skip


def figures(report: "Report") -> str:
    """The model and its linear probe, side by side."""
    from regraft.reports.verdict import title_of

    section = report.section
    if section is None:
        return ""
    models = {report.strategy.preset if report.strategy else "model": section}
    if report.probe:
        models["linear probe"] = report.probe.evaluation
    metrics = [name for name in _SHOWN if name in section.metrics][:2]
    rows = [
        [name, one.headline.told(), *(one.metrics[key].told() if key in one.metrics else NOTHING for key in metrics)]
        for name, one in models.items()
    ]
    return aligned(["", *(lowered(title_of(key)) for key in (section.main_metric, *metrics))], rows)


def swept(report: "SweepReport") -> str:
    """The candidates of a sweep, the best first; a star marks those not distinguishable from it."""
    from regraft.reports.verdict import title_of

    rows = [
        (f"{one.name}{' *' if one.tied else ''}", one.measured.told(), one.behind.told(), f"{one.seconds:.1f} s")
        for one in report.candidates
    ]
    header = ["candidate (*: as good as the best)", lowered(title_of(report.metric)), "behind the best", "a run"]
    return aligned(header, rows)


def compared(found: "Comparison") -> str:
    """Two runs, their difference and the verdict."""
    from regraft.reports.verdict import title_of

    paired = found.paired
    metric = lowered(title_of(paired.metric))
    header, columns = ["run", "model", metric], [found.names, found.described, map(shown, (paired.a, paired.b))]
    if paired.only_a_right is not None:
        header.append("right where the other is wrong")
        columns.append(map(str, (paired.only_a_right, paired.only_b_right)))
    groups = f" in {counted(found.num_groups, 'group')}" if found.num_groups else ""
    return "\n\n".join(
        [
            f"{metric} on the same {counted(found.num_examples, found.split + ' example')}{groups}",
            aligned(header, zip(*columns, strict=True)),
            paired.verdict,
            "\n".join(found.notes),
        ]
    )
