"""The page of the defaults of fine-tuning, from its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _kept import Kept, Row, unpacked
from _markdown import head, line, told
from _pooled import Table, shown
from _sets import SETS

TOLD = """{backbone} (weights {weights}), {px} pixels. {folds} grouped folds of the training part, of which those that
were run are left out in turn; test parts are not touched. {steps} optimizer steps of 32 examples, AdamW, unless a row
says otherwise. A cell: accuracy, its paired difference to the probe on the same examples with a 95 % bootstrap over
examples (over patients or other groups where there are any), and the log loss before any calibration (nats). One seed,
which is not drawn. Rows of fewer folds have other examples: compare their differences, not their accuracies. `mean`
gives every set the same weight. Made by `python benchmarks/defaults_study.py`."""
TITLES = {"input": "Everything is trained", "4e": "What lies above 4e is trained"}
HOW = {
    "input": """Fresh views. The head has the rate of the stages, norms are trained and every stage has the same rate,
unless norms are frozen or a row is gentler below (a factor of 0.8 from stage to stage). `full` is lr 1e-3; `lp_ft` is
from the probe, lr 1e-3, gentler below, norms frozen.""",
    "4e": """{views} stored views. The head's rate is ten times `lr`, a factor of 0.8 from stage to stage, and norms are
frozen unless they are trained. `partial` is from the probe, lr 1e-4.""",
}
DEFAULT = {"input": "lr 1e-3", "4e": "from the probe, lr 1e-4"}
FOUND = """## What follows

Where everything is trained, every candidate that was run in all folds is ahead of the probe, most on
plantvillage_tomato, and none is ahead of or behind the default in accuracy beyond chance. After two folds two gentler
ones seemed ahead of it by two points; the third fold took half of that away and more. So `full` stays as it was. A
rate of 1e-4 is as accurate and by far the surer of what it says (log loss before calibration): where the data are
photographs like those of pretraining, try `--set options.lr=1e-4`.

Above 4e no candidate differs from the default or from the probe beyond chance in the one fold that was run, and higher
rates or more steps only make answers less sure. So `partial` stays as it was too.
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training."""

    data: str
    """Name of the set."""
    cut: str
    """What lies above is trained."""
    name: str
    """The candidate, or `probe`."""
    fold: int
    """The fold that is left out."""

    @property
    def key(self) -> dict[str, Any]:
        """What names its row."""
        return {"set": self.data, "cut": self.cut, "name": self.name, "fold": self.fold}


def page(kept: Kept, candidates: Mapping[str, Sequence[str]]) -> str:
    """What is kept, as Markdown."""
    settings = dict(kept.settings())
    settings["weights"] = settings["weights"][:12]
    lines = ["# Defaults of fine-tuning, chosen inside the training parts", "", told(TOLD, **settings)]
    for cut, names in candidates.items():
        columns = head("candidate", "folds", "mean, less the probe's", f"less the default's ({DEFAULT[cut]})", *SETS)
        lines += ["", f"## {TITLES[cut]}", "", told(HOW[cut], **settings), "", *columns]
        for name in names:
            means = ["" if name == other else _mean([_against(kept, cut, name, other, data) for data in SETS])
                     for other in ("probe", DEFAULT[cut])]  # fmt: skip
            folds = sorted({len(_rows(kept, cut, name, data)) for data in SETS})
            told_folds = "–".join(str(one) for one in dict.fromkeys((folds[0], folds[-1])))
            lines.append(line(name, told_folds, *means, *(_cell(kept, cut, name, data) for data in SETS)))
    return "\n".join([*lines, "", FOUND])


def _rows(kept: Kept, cut: str, name: str, data: str) -> dict[int, Row]:
    """By fold."""
    return {row["fold"]: row for row in kept.where(cut=cut, name=name, set=data)}


def _against(kept: Kept, cut: str, name: str, other: str, data: str) -> Table | None:
    """The paired difference over the folds that both have."""
    rows, beside = _rows(kept, cut, name, data), _rows(kept, cut, other, data)
    folds = sorted(rows.keys() & beside.keys())
    if not folds:
        return None
    values = [np.array(unpacked(rows[at]["right"])) - np.array(unpacked(beside[at]["right"])) for at in folds]
    units = [np.array(rows[at]["units"]) + 1_000_000 * at for at in folds]  # a group lies in one fold
    return Table(task=f"{cut} {data}", values=np.concatenate(values)[None], units=np.concatenate(units))


def _mean(tables: Sequence[Table | None]) -> str:
    some = [table for table in tables if table is not None]
    if len(some) < len(tables):
        return "not all run"
    return shown(some, signed=True, min_seeds=1)


def _cell(kept: Kept, cut: str, name: str, data: str) -> str:
    rows = _rows(kept, cut, name, data)
    if not rows:
        return "not run"
    accuracy = np.concatenate([unpacked(row["right"]) for row in rows.values()]).mean()
    loss = np.average([row["log_loss"] for row in rows.values()], weights=[len(row["right"]) for row in rows.values()])
    table = None if name == "probe" else _against(kept, cut, name, "probe", data)
    against = "" if table is None else f" ({shown([table], signed=True, min_seeds=1)})"
    return f"{accuracy:.3f}{against}, {loss:.3f}"
