"""The study of the defaults of fine-tuning."""

import time
from pathlib import Path
from typing import Any

import defaults_study
import numpy as np
import pytest
from _defaults_page import Cell, page
from _kept import Kept, packed
from _sets import SETS
from defaults_study import CANDIDATES, FOLDS, plan, run_all

SETTINGS = {"backbone": "googlenet", "weights": "0" * 40, "px": 64, "steps": 150, "views": 4, "folds": 3}


def row(cell: Cell, right: float) -> dict[str, Any]:
    """A row of forty examples, each a group of its own, the first of which are right."""
    count = 40
    return {**cell.key, "right": packed(np.arange(count) < right * count), "log_loss": 0.5, "units": list(range(count)),
            "seconds": 2.0}  # fmt: skip


def kept_in(path: Path, **right: float) -> Kept:
    kept = Kept(path)
    kept.settle(SETTINGS)
    for name, share in right.items():
        kept.add(*(row(Cell(data=data, cut="input", name=name, fold=fold), share) for data in SETS for fold in (0, 1)))
    return kept


def test_whole_comparisons_come_first_fold_by_fold() -> None:
    cells = plan()
    assert [cell.fold for cell in cells] == sorted(cell.fold for cell in cells)
    assert len(set(cells)) == len(cells) == FOLDS * len(SETS) * sum(map(len, CANDIDATES.values()))
    assert [cell.data for cell in cells[: len(SETS)]] == list(SETS)
    assert {cell.name for cell in cells[: len(SETS)]} == {"probe"}


def test_the_page_holds_candidates_against_the_probe_on_the_folds_that_both_have(tmp_path: Path) -> None:
    kept = kept_in(tmp_path / "rows.jsonl", probe=0.5, better=0.75)
    kept.add(row(Cell(data="hymenoptera", cut="input", name="better", fold=2), 1.0))  # the probe has no such fold
    lines = page(kept, {"input": ["probe", "better", "other"], "4e": ["probe"]}).splitlines()
    probe, better, other = (next(one for one in lines if one.startswith(f"| {name} |")).split(" | ")
                            for name in ("probe", "better", "other"))  # fmt: skip
    assert (probe[1], probe[4]) == ("2", "0.500, 0.500")
    assert better[1] == "2–3"
    assert better[2].startswith("+0.250 [+0.")
    assert better[3] == "not all run"
    assert better[4].startswith("0.833 (+0.250 [+0.")
    assert (other[1], other[4]) == ("0", "not run")
    assert "not all run" in other[2]


def test_what_is_kept_does_not_run_again_and_what_the_budget_has_no_room_for_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, cells, asked = Kept(tmp_path / "rows.jsonl"), plan()[:6], []

    def measured(problem: str, cell: Cell) -> dict[str, Any]:
        asked.append((problem, cell))
        return row(cell, 0.5)

    monkeypatch.setattr(defaults_study, "measured", measured)
    monkeypatch.setattr(defaults_study, "problem_of", lambda data, cut, views, **_: f"{data} {cut} {views}")
    kept.settle(SETTINGS)
    kept.add(row(cells[0], 0.5))
    run_all(cells, kept, "googlenet", 64, ends_at=time.time() + 3600)
    assert [cell for _, cell in asked] == cells[1:]
    assert {problem for problem, _ in asked} == {f"{data} input 0" for data in SETS}
    assert "6 cells, 5 missing" in capsys.readouterr().out
    run_all(plan(), kept, "googlenet", 64, ends_at=time.time())
    assert len(asked) == 5
    assert "the budget is spent" in capsys.readouterr().out
