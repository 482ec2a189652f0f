"""One small model for all cases."""

from pathlib import Path

import pytest

from cases.door import TINY, photos, regraft


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` of cats and dogs, twelve each, and the run `m` on them."""
    root = tmp_path_factory.mktemp("trained")
    photos(root / "photos", 12)
    done = regraft("fit", "photos", *TINY, "--out", "m", folder=root)
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="session")
def model(trained: Path) -> Path:
    """The run's folder."""
    return trained / "m"
