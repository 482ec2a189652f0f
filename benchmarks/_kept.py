"""Rows that a table keeps, so that it resumes, and its page can be made again from a clone."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from _sets import ROOT

from regraft.files import write_text

FOLDER = ROOT / "benchmarks" / "rows"
Row = Mapping[str, Any]


class Rows:
    """The rows in a file. They are appended, so two commands may share it; a line cut off by a crash is dropped."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole, _, rest = text.rpartition("\n")
        if rest:
            write_text(path, f"{whole}\n" if whole else "")
        self.rows: list[Row] = [json.loads(line) for line in whole.splitlines()]

    def add(self, *rows: Row) -> None:
        """Keep some more rows."""
        text = "".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("ab") as file:
            file.write(text.encode())
            self.rows += rows

    def where(self, **facts: Any) -> list[Row]:
        """The rows in which all of this holds."""
        return [row for row in self.rows if all(row.get(name) == value for name, value in facts.items())]


def packed(right: Iterable[Any]) -> str:
    """Right or wrong by example, as text of 1 and 0."""
    return "".join("1" if one else "0" for one in right)


def unpacked(text: str) -> list[float]:
    """What `packed` made of it."""
    return [float(one) for one in text]


class Kept(Rows):
    """The rows in a file, all made with the settings that stand in its first line where there are any."""

    def settle(self, asked: Mapping[str, Any]) -> None:
        """Begin an empty file with what all its rows share.

        Raises:
            SystemExit: its rows were made with other settings.
        """
        if not self.rows:
            self.add({"settings": dict(asked)})
        before = self.settings()
        others = [f"{name} {before.get(name)} (asked for: {asked[name]})" for name in asked
                  if before.get(name) != asked[name]]  # fmt: skip
        if others:
            raise SystemExit(
                f"The rows in {self.path} were made with {', '.join(others)}. Give --rows another file, or delete this "
                "one."
            )

    def settings(self) -> Mapping[str, Any]:
        """What all rows share.

        Raises:
            SystemExit: there are none.
        """
        if not self.rows:
            raise SystemExit(f"There are no rows in {self.path}: run without --only-write first.")
        found: Mapping[str, Any] = self.rows[0]["settings"]
        return found
