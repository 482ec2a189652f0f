"""The package `toy_texts` as pip would leave it: its entry points in a folder on the path."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENTRY_POINTS = {
    "regraft.modalities": {"words": "toy_texts.words"},
    "regraft.backbones": {"toy_encoder": "toy_texts.encoder"},
}


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """While it lasts, the toys are on the shelves."""
    info = folder / "toy_texts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-texts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {module}\n" for name, module in entries.items())
            for group, entries in ENTRY_POINTS.items()
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        yield
    importlib.invalidate_caches()
