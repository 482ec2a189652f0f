"""Rows that a table keeps, so that it resumes, and its page can be made again from a clone."""

from collections.abc import Mapping
from typing import Any

from _sets import ROOT

from regraft.lab.kept import Kept as Rows
from regraft.lab.kept import Row, packed, unpacked

__all__ = ["FOLDER", "Kept", "Row", "packed", "unpacked"]

FOLDER = ROOT / "benchmarks" / "rows"


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
