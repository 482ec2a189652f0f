"""Rows that a study or a table keeps."""

from pathlib import Path

from regraft.lab.kept import Kept, packed, unpacked


def test_rows_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "rows" / "t.jsonl")
    kept.add({"set": "a", "seed": 0}, {"set": "a", "seed": 1})
    kept.add({"set": "b", "seed": 0})
    again = Kept(kept.path)
    assert again.rows == kept.rows
    assert again.where(set="a", seed=1) == [{"set": "a", "seed": 1}]
    assert again.where(set="c") == []


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_next_row_is_whole(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "t.jsonl")
    kept.add({"seed": 0})
    with kept.path.open("a") as file:
        file.write('{"seed": 1, "ri')
    Kept(kept.path).add({"seed": 2})
    assert [row["seed"] for row in Kept(kept.path).rows] == [0, 2]


def test_right_and_wrong_come_back_as_they_were() -> None:
    assert unpacked(packed([True, False, True])) == [1.0, 0.0, 1.0]
