"""The source files that the architecture tests walk."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the package."""
    return ROOT / "src" / "regraft"


@pytest.fixture(scope="session")
def sources(package: Path) -> dict[Path, str]:
    """Every source file of the package, by path."""
    found = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    assert len(found) > 20, "the walk does not find the package"
    return found
