"""What a caller holds in memory, as files: so that it is digested, decoded and stored as every other example is.

A path stays a path; an array or a Pillow picture becomes the bytes of a PNG, which is lossless, so that the same
pixels have the same digest wherever they come from in one process or the next.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from regraft.bundles._inputs import Input, picture_of
from regraft.data.decode import read
from regraft.identity import digest_contents


@dataclass(frozen=True, eq=False)
class Files:
    """Unlabelled examples, each a file or the bytes of one."""

    items: Sequence[Path | bytes]
    """In the caller's order."""

    @staticmethod
    def of(given: Sequence[Input]) -> "Files":
        """Whatever `Bundle.predict` takes, as files.

        Raises:
            Undecodable: an array or a picture that is none.
        """
        return Files([_file(one) for one in given])

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def contents(self) -> list[str]:
        """Digest of the bytes of every file.

        Raises:
            Undecodable: the system cannot read one.
        """
        return [digest_contents(item if isinstance(item, bytes) else read(item)) for item in self.items]

    def name(self, at: int) -> str:
        """What to call the file at this position."""
        item = self.items[at]
        return f"number {at}" if isinstance(item, bytes) else str(item)

    def on_disk(self, folder: Path) -> list[Path]:
        """A path for every file; those in memory are written to `folder` under their digests."""
        return [
            item if isinstance(item, Path) else _written(item, folder / f"{self.contents[at]}.png")
            for at, item in enumerate(self.items)
        ]


def _file(given: Input) -> Path | bytes:
    if isinstance(given, str | Path):
        return Path(given)
    if isinstance(given, bytes):
        return given
    buffer = io.BytesIO()
    given = np.asarray(given) if isinstance(given, np.memmap) else given
    picture_of(given).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _written(data: bytes, path: Path) -> Path:
    if not path.is_file():
        path.write_bytes(data)
    return path
