"""The one place that prints what a command found: as text for people, or with `--json` as JSON for programs."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any, TypeVar

from regraft.records import to_json

if TYPE_CHECKING:
    from regraft.reports.report import Report

Found = TypeVar("Found")

WIDTH = 108
"""Lines of prose are broken after this many characters."""


def escape_what_an_encoding_lacks() -> None:
    """From here on, printing cannot fail: a character that the encoding of stdout or stderr lacks (`²` in cp1251, or a
    file name that is not valid UTF-8) is written as a backslash escape."""
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
    from regraft.doors._tables import figures
    from regraft.reports.verdict import refused, verdict

    print_report(report, folder, verdict(report), [figures(report), wrapped(refused(report))], json=json, model=model)


def as_json(found: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII, so that every encoding holds it; numbers that are not finite are null."""
    return json.dumps(to_json(found), indent=indent)


def wrapped(text: str, by: str = "") -> str:
    """A paragraph broken into lines, each indented by `by`; what one would copy, such as a name or a link, is kept."""
    return indent(fill(text, WIDTH - len(by), break_long_words=False, break_on_hyphens=False), by)
