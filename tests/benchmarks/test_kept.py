"""Rows that a table keeps."""

from pathlib import Path

import pytest
from _kept import Kept


def test_rows_of_other_settings_are_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "t.jsonl")
    with pytest.raises(SystemExit, match="no rows in"):
        kept.settings()
    kept.settle({"px": 64, "steps": 150})
    Kept(kept.path).settle({"px": 64, "steps": 150})
    assert len(Kept(kept.path).rows) == 1
    with pytest.raises(SystemExit, match=r"px 64 \(asked for: 96\)\. Give --rows another file"):
        kept.settle({"px": 96, "steps": 150})
