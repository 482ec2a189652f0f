"""What a caller holds in memory, as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from regraft.bundles._inputs import Input, file_of
from regraft.identity import digest_contents
from regraft.modalities.image.decode import read
from regraft.modalities.image.dicom import is_dicom


@dataclass(frozen=True, eq=False)
class Files:
    """Unlabelled examples, each a file or the bytes of one."""

    items: Sequence[Path | bytes]
    """In the caller's order."""

    @staticmethod
    def of(given: Sequence[Input]) -> "Files":
        """Whatever `Bundle.predict` takes.

        Raises:
            Undecodable: an array or a picture that is none.
        """
        return Files([file_of(one) for one in given])

    def __len__(self) -> int:
        return len(self.items)

    @property
    def contents(self) -> list[str]:
        """Digest of the bytes of every file.

        Raises:
            Undecodable: the system cannot read one.
        """
        return [digest for digest, _ in self._looked_at]

    @property
    def any_dicom(self) -> bool:
        """Whether there is a DICOM file among them."""
        return any(dicom for _, dicom in self._looked_at)

    def name(self, at: int) -> str:
        """What to call the file at this position."""
        item = self.items[at]
        return f"number {at}" if isinstance(item, bytes) else str(item)

    def on_disk(self, folder: Path) -> list[Path]:
        """A path for every file; those in memory are written to `folder` under their digests."""
        return [
            item if isinstance(item, Path) else _written(item, folder / digest_contents(item)) for item in self.items
        ]

    @cached_property
    def _looked_at(self) -> list[tuple[str, bool]]:
        found = []
        for item in self.items:
            data = item if isinstance(item, bytes) else read(item)
            found.append((digest_contents(data), is_dicom(data)))
        return found


def _written(data: bytes, path: Path) -> Path:
    if not path.is_file():
        path.write_bytes(data)
    return path
