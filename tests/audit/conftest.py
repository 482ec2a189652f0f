"""Clean data, and what checks see of data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.contracts.audit import SessionView
from scenes import put, scene, viewed


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Two classes, 24 training and 20 test examples."""
    root = tmp_path / "scenes"
    for number in range(44):
        split = "train" if number < 24 else "test"
        put(scene(number), root / split / "ab"[number % 2] / f"{number}.png")
    return root


@pytest.fixture
def view() -> Callable[..., SessionView]:
    """A function from a folder to what checks see of it."""
    return viewed
