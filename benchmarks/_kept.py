"""Where the rows of tables are kept, so that a table resumes and its page can be made again from a clone."""

from _sets import ROOT

from regraft.lab._kept import Kept, Row, packed, unpacked

__all__ = ["FOLDER", "Kept", "Row", "packed", "unpacked"]

FOLDER = ROOT / "benchmarks" / "rows"
