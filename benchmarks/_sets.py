"""The real data sets that tables are made of, unpacked once under `runs/data`."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
UNPACKED = ROOT / "runs" / "data"
CHECKPOINT = SHARED / "weights" / "googlenet-short.pth"
SHORT = f"googlenet:torchvision@file:{CHECKPOINT}"
"""The shared short checkpoint as a backbone."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """A data set and how it is opened."""

    name: str
    """Name of the archive and of the folder in it."""
    path: str = ""
    """Table inside the folder; empty: the folder itself."""
    settings: tuple[str, ...] = ()
    """`--set` values of the recipe."""

    def open(self) -> Path:
        """The path to give to `regraft fit`, unpacked where it is not yet.

        Raises:
            FileNotFoundError: the archive is not there.
        """
        if not (UNPACKED / self.name).is_dir():
            with tarfile.open(SHARED / "data" / f"{self.name}.tar.gz") as archive:
                archive.extractall(UNPACKED, filter="data")
        return UNPACKED / self.name / self.path if self.path else UNPACKED / self.name


SETS = {
    found.name: found
    for found in (
        Set(name="hymenoptera"),
        Set(name="plantvillage_tomato"),
        Set(name="chest_xray_pneumonia",
            settings=("source.group_pattern='(person[0-9]+|NORMAL2-IM-[0-9]+|IM-[0-9]+)'",)),
        Set(name="breast_histology", path="metadata.csv",
            settings=("source.path_column='file'", "source.group_column='patient_id'")),
    )
}  # fmt: skip
