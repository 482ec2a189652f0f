"""Tables whose cells are computed in order of value until the CPU minutes are spent, and which can be resumed."""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _kept import Rows

from regraft.recipe import Recipe

Cell = tuple[Any, ...]


def asked(description: str | None, *, minutes: float) -> argparse.Namespace:
    """The command line: `data`, `out`, `minutes` and `table`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--minutes", type=float, default=minutes, help="of CPU time")
    made.add_argument("--table", action="store_true")
    return made.parse_args()


def finished(folder: Path, recipe: Recipe) -> Path:
    """The folder of the recipe's finished run, which goes on where it was stopped."""
    from regraft.workbench.fit import fit

    if not (folder / "report.json").is_file():
        for _ in fit(recipe, folder, resume=(folder / "begun.json").is_file()):
            pass
    return folder


def figures(path: Path, names: Iterable[str], split: str = "test") -> dict[str, list[float]]:
    """Value, lower and upper end of some metrics of a run or an evaluation."""
    found = json.loads((path / "report.json").read_text(encoding="utf-8"))["evaluation"][split]["metrics"]
    return {name: [found[name][one] for one in ("value", "low", "high")] for name in names}


def spend(
    kept: Rows, cells: Sequence[Cell], names: Sequence[str], made: Callable[[Cell], Mapping[str, Any]],
    seconds: Callable[[Cell], float], *, minutes: float,
) -> None:  # fmt: skip
    """Make the cells that no row has yet, in order, those that would take too long left out. `names` are those of a
    cell's parts in its row; `seconds` says what a cell may take now, with what has to be made first."""
    have = {tuple(row[name] for name in names) for row in kept.rows}
    todo = [one for one in dict.fromkeys(cells) if one not in have]
    for cell in todo:
        began = cpu_s()
        if began + seconds(cell) > 60 * minutes:
            continue
        found = made(cell)
        row = {**dict(zip(names, cell, strict=True)), "seconds": round(cpu_s() - began, 1), **found}
        kept.add(row)
        print({name: value for name, value in row.items() if len(str(value)) < 100}, flush=True)


def cpu_s() -> float:
    """CPU seconds of this process and of those that it ran."""
    return sum(os.times()[:4])


def lines(
    kept: Rows, cells: Iterable[Cell], names: Sequence[str], metrics: Mapping[str, str], **titles: str
) -> str:  # fmt: skip
    """A table in Markdown of `metrics` (name and format), `titles` in place of some names; what was not run is said to
    be so."""
    head = [titles.get(name, name.replace("_", " ")) for name in (*names, *metrics)]
    made = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(names) + ['---:'] * len(metrics))} |"]
    have = {tuple(row[name] for name in names): row for row in kept.rows}
    for cell in dict.fromkeys(cells):
        found = have.get(cell, {})
        told = [
            "{:{f}} [{:{f}}, {:{f}}]".format(*found[name], f=form) if name in found else "–" if found else "not run"
            for name, form in metrics.items()
        ]
        made.append(f"| {' | '.join([*(f'{one:,}' if isinstance(one, int) else one for one in cell), *told])} |")
    return "\n".join(made)
