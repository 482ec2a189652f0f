"""A tiny GoogLeNet for all tests of strategies."""

import pytest

from problems import opened
from regraft.backbones._backbone import Backbone


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """GoogLeNet with a quarter of its filters, random weights, inputs of 32 pixels."""
    return opened("googlenet:tiny@random", 32)


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every epoch's end and an event at every step, however short they are."""
    monkeypatch.setattr("regraft.strategies._checkpoint.INTERVAL", 0.0)
    monkeypatch.setattr("regraft.strategies._checkpoint.SHARE", 0.0)
    monkeypatch.setattr("regraft.strategies._loop.HEARTBEAT", 0.0)
