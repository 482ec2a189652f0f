"""Painted pictures for studies."""

from pathlib import Path

import pytest

from regraft.lab.setting import Examples
from studies import opened, paint


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted"))


@pytest.fixture(scope="session")
def examples(painted: Path) -> Examples:
    return opened(painted)
