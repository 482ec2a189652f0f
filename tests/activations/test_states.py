"""States whose views are made on the device."""

import numpy as np
import pytest
import torch

from regraft.activations import stored
from regraft.activations.stored import DeviceStates, FreshStates


def made(examples: np.ndarray, views: np.ndarray) -> dict[str, torch.Tensor]:
    return {"x": torch.from_numpy(100 * examples + views)}


def counting() -> tuple[FreshStates, list[int]]:
    """Plain inputs that are their example's number, and which were asked for."""
    asked: list[int] = []

    def load(example: int, view: int, piece: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        assert view == 0
        asked.append(example)
        return {"x": np.array([example])}, {}

    return FreshStates(load, None, 1), asked


def test_plain_views_come_from_elsewhere_and_others_from_the_device() -> None:
    plain, asked = counting()
    both, examples = DeviceStates(plain, made), np.array([3, 1])
    assert both.num_views is None
    assert both.batch(examples, np.array([0, 0]))["x"].ravel().tolist() == [3, 1]
    assert both.batch(examples, np.array([2, 5]))["x"].tolist() == [302, 105]
    assert both.on_device(examples, np.array([2, 5]))["x"].tolist() == [302, 105]
    assert asked == [3, 1]


def test_a_batch_of_plain_views_is_made_once_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "KEPT_BYTES", 20)
    plain, asked = counting()
    both, none = DeviceStates(plain, made), np.zeros(2, dtype=np.int64)
    for _ in range(2):
        assert both.batch(np.array([3, 1]), none)["x"].ravel().tolist() == [3, 1]
        assert both.batch(np.array([4, 2]), none)["x"].ravel().tolist() == [4, 2]
    assert asked == [3, 1, 4, 2, 4, 2]
