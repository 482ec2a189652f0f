"""Tables of plain text, and what a fit, an evaluation and a comparison print."""

from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from regraft.doors._output import WIDTH
from regraft.reports.verdict import title_of
from regraft.values import NOTHING, shown
from regraft.words import counted, lowered

if TYPE_CHECKING:
    from regraft.reports.report import Report
    from regraft.workbench.compare import Comparison

_SHOWN = ("balanced_accuracy", "log_loss", "macro_auroc", "r2", "quadratic_weighted_kappa")
"""Metrics beside the main one that the table at the end of a fit shows, two at most; more would pass 80 columns."""


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


def compared(found: "Comparison") -> str:
    """Two runs, their difference and the verdict."""
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
