"""A tiny GoogLeNet for all tests of strategies."""

from dataclasses import replace

import pytest

from problems import opened
from regraft.backbones.backbone import Backbone


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """GoogLeNet with a quarter of its filters, inputs of 32 pixels. Its random weights pass for pretrained ones."""
    found = opened("googlenet:tiny@random", 32)
    return replace(found, card=replace(found.card, weights="file:tiny.pth"))


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every epoch's end and an event at every step, however short they are."""
    monkeypatch.setattr("regraft.strategies._checkpoint.INTERVAL", 0.0)
    monkeypatch.setattr("regraft.strategies._checkpoint.SHARE", 0.0)
    monkeypatch.setattr("regraft.strategies.loop.HEARTBEAT", 0.0)
