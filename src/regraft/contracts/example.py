"""What an example is before anything is read of it: its name, its contents, its label, and what it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class File:
    """Content that lies in a file."""

    path: Path
    """Absolute."""

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Inline:
    """Content that was given itself: the cell of a table, bytes held in memory."""

    value: Any
    """Text, the bytes of a file, or an object that the modality knows (an array, a Pillow image)."""

    def __str__(self) -> str:
        return self.value[:40] if isinstance(self.value, str) else "The input"


Content = File | Inline
Contents = Mapping[str, Content]
"""Content by name: one for an image or a text, two for a question with its context or an image with its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example."""

    id: str
    """Its name: the path relative to the data set's root with `/`, or what the table says."""
    contents: Contents
    """What a model sees of it."""
    label: str
    """The name of its class; or its labels or target values with a semicolon between them; may be empty."""
    group: str | None = None
    """What it shares with other examples (patient, plant, site), so that they stay together; None: unknown."""
    split: str | None = None
    """`train`, `val` or `test` where the data set comes with splits; else None."""
    row: int | None = None
    """Its row in the table: in text the header is row 1, in parquet the first row is 0; None for folders."""

    @property
    def content(self) -> Content:
        """Its first content, which is the only one of most examples."""
        return next(iter(self.contents.values()))

    @property
    def path(self) -> Path:
        """The file of its first content.

        Raises:
            TypeError: that lies in no file.
        """
        content = self.content
        if not isinstance(content, File):
            raise TypeError(f"{self.id} lies in no file")
        return content.path


def in_file(path: Path) -> Contents:
    """The contents of an example that is one file."""
    return {"file": File(path)}
