"""The page of the table of probes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from _kept import Kept, unpacked
from _markdown import head, line, told
from _pooled import Table, shown

Draws = Sequence[tuple[int, int]]
"""(training examples a class, or 0 for all; seed)."""

TOLD = """Linear probes (the penalty chosen by cross-validation on the training examples) on the frozen features of
each backbone, on {tasks}.
`n` training examples a class are drawn by the seed ({seeds} seeds), from as many patients as there are; backbones and
sizes share draws and judged examples, so every difference is paired. {judged}
A mean gives every task the same weight (`mean`: every task and every n). In brackets a 95 % bootstrap that draws seeds
and judged examples (patients, where there are patients) inside every task; the tasks are not drawn. Made by
`{command}`."""
INSIDE = """Judged are training examples that were left out, in three grouped folds: no test part is touched, so a
recipe or an input size may be chosen here."""
TEST = """Judged are the sets' own test parts, which choose nothing; that of breast_histology has five patients, too few
for an interval of its own."""


class Page:
    """Rows as tables of right and wrong."""

    def __init__(self, kept: Kept, weights: dict[str, str], data: Sequence[str], draws: Draws, *, inside: bool) -> None:
        self.data, self.draws, self.weights = data, draws, weights
        self.sizes = list(dict.fromkeys(per_class for per_class, _ in draws))
        self._rows = {
            (row["label"], row["px"], row["set"], row["per_class"], row["seed"]): row
            for row in kept.where(inside=inside)
            if "right" in row and row["weights"] == weights.get(row["label"])
        }
        self._units = {row["judged"]: np.array(row["units"]) for row in kept.where(inside=inside) if "judged" in row}

    def table(self, label: str, px: int, data: str, per_class: int) -> Table | None:
        """One task at one n; None unless every seed ran."""
        found: list[Any] = [self._rows.get((label, px, data, n, seed)) for n, seed in self.draws if n == per_class]
        if not all(found):
            return None
        values = np.array([unpacked(row["right"]) for row in found])
        return Table(task=data, values=values, units=self._units[data])

    def tables(self, label: str, px: int, sizes: Sequence[int]) -> list[Table]:
        """All tasks at these n; empty unless all ran."""
        found = [self.table(label, px, data, n) for n in sizes for data in self.data]
        return [one for one in found if one is not None] if all(found) else []

    def against(self, one: tuple[str, int], other: tuple[str, int], sizes: Sequence[int]) -> str:
        """`less` in words; empty for a backbone against itself."""
        return "" if one == other else shown(self.less(one, other, sizes), signed=True)

    def less(self, one: tuple[str, int], other: tuple[str, int], sizes: Sequence[int]) -> list[Table]:
        """The paired differences of two backbones, each at a size, over all tasks at these n; empty unless all ran."""
        ours, theirs = self.tables(*one, sizes), self.tables(*other, sizes)
        return [a - b for a, b in zip(ours, theirs, strict=True)] if ours and theirs else []


def page(
    kept: Kept, weights: dict[str, str], sides_px: Sequence[int], data: Sequence[str], draws: Draws, *, inside: bool
) -> str:
    """The tables as Markdown; `weights` are the digests by label, the first label is what others are compared with."""
    found, first = Page(kept, weights, data, draws, inside=inside), next(iter(weights))
    command = command_of(weights, sides_px, draws) + (" --inside" if inside else "")
    text = told(TOLD, tasks=", ".join(data), seeds=len({seed for _, seed in draws}), judged=INSIDE if inside else TEST,
                command=command)  # fmt: skip
    lines = ["# Linear probes over the target tasks" + (", inside the training parts" if inside else ""), "",
             text, ""]  # fmt: skip
    lines += [f"* `{label}`: weights {digest[:12]}" for label, digest in weights.items()]
    columns = [n_told(n) for n in found.sizes]
    lines += ["", "## Mean over the tasks", "", *head("backbone", "px", *columns, "mean")]
    rows = [(label, px) for label in weights for px in sides_px]
    for row in rows:
        cells = [shown(found.tables(*row, [n])) for n in found.sizes]
        lines.append(line(*row, *cells, shown(found.tables(*row, found.sizes))))
    if len(weights) > 1:
        lines += ["", f"## Against {first} at the same size", "", *head("backbone", "px", *columns, "mean")]
        for label, px in rows[len(sides_px) :]:
            cells = [found.against((label, px), (first, px), [n]) for n in found.sizes]
            lines.append(line(label, px, *cells, found.against((label, px), (first, px), found.sizes)))
    if len(sides_px) > 1:
        lines += ["", f"## Against itself at {sides_px[0]} px", "", *head("backbone", "px", *columns, "mean")]
        for label, px in rows:
            if px != sides_px[0]:
                cells = [found.against((label, px), (label, sides_px[0]), [n]) for n in found.sizes]
                lines.append(line(label, px, *cells, found.against((label, px), (label, sides_px[0]), found.sizes)))
    lines += ["", "## Task by task", "", *head("backbone", "px", "n", *data)]
    for label, px in rows:
        for n in found.sizes:
            tables = [found.table(label, px, name, n) for name in data]
            lines.append(line(label, px, n_told(n), *(shown([one] if one else []) for one in tables)))
    return "\n".join(lines) + "\n"


def command_of(labels: Iterable[str], sides_px: Sequence[int], draws: Draws) -> str:
    """The command that makes the page."""
    sizes, seeds = dict.fromkeys(per_class for per_class, _ in draws), {seed for _, seed in draws}
    settings = ["--px", *sides_px, "--per-class", *sizes, "--seeds", len(seeds)]
    named = " ".join(f"--backbone {label}=…" for label in labels)
    return f"python benchmarks/probe_table.py {named} {' '.join(map(str, settings))}"


def n_told(per_class: int) -> str:
    """Training examples a class, for people."""
    return f"n {per_class}" if per_class else "all"
