"""What masks are as targets and outputs, how they move with views, and how a head learns them."""

import json

import numpy as np
import pytest
import torch

from regraft.contracts.task import TASKS
from regraft.errors import BadData
from regraft.tasks.masks import IGNORED, in_view
from regraft.tasks.said import highest, recorded

GRID = np.array([[0, 0, 1], [2, 1, 1]], dtype=np.uint8)
PACKED = recorded(GRID, "abc")["mask"]
LABEL = json.dumps({"size": [2, 3], "classes": ["a", "c", None], "mask": PACKED})
WHOLE = np.array([0, 0, 3, 2], dtype=np.float32)
STILL = np.zeros(2, dtype=bool)


def test_a_label_is_read_by_its_own_names_and_what_is_recorded_gives_the_same_masks() -> None:
    task = TASKS.get("segmentation")(("a", "b", "c"))
    (mask,) = task.encode([LABEL])
    np.testing.assert_array_equal(mask.grid(), [[0, 0, 2], [IGNORED, 2, 2]])
    assert task.named(LABEL) == ("a", "c")
    outputs = task.gathered(
        [np.random.default_rng(0).random((2, 3, 8, 8))], np.arange(2), {"box": np.stack([WHOLE] * 2)}
    )
    records = json.loads(json.dumps(task.recorded(outputs)))
    again = task.restored(records)
    assert [one.grid().tolist() for one in again] == [one.grid().tolist() for one in outputs]
    assert sum(records[0]["shares"].values()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(task.marks(records[1]).numbers, outputs[1].grid())


@pytest.mark.parametrize(
    "label", ["cat", "[1]", "{}", '{"size": [2, 3], "classes": ["a"], "mask": "?"}', '{"size": 3}']
)
def test_a_label_that_is_no_mask_is_refused(label: str) -> None:
    with pytest.raises(BadData, match="is not a mask"):
        TASKS.get("segmentation")(("a",)).encode([label])


def test_a_mask_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(BadData, match="'c' of a mask is unknown"):
        TASKS.get("segmentation")(("a", "b")).encode([LABEL])


def test_a_damaged_mask_is_refused() -> None:
    (mask,) = TASKS.get("segmentation")(("a", "c")).encode([LABEL.replace(PACKED, PACKED[:8])])
    with pytest.raises(ValueError, match="damaged"):
        mask.grid()


def test_a_mask_moves_with_its_view() -> None:
    grid = np.arange(24, dtype=np.uint8).reshape(4, 6)
    whole = np.array([0, 0, 6, 4], dtype=np.float32)
    seen = in_view(grid, whole, STILL, 12)
    np.testing.assert_array_equal(seen, np.kron(grid, np.ones((3, 2))))
    np.testing.assert_array_equal(in_view(grid, whole, np.array([True, False]), 12), seen[:, ::-1])
    np.testing.assert_array_equal(in_view(grid, whole, np.array([False, True]), 12), seen[::-1])
    np.testing.assert_array_equal(in_view(grid, np.array([1.0, 0, 3, 2]), STILL, 2), grid[:2, 1:3])
    letterboxed = in_view(grid, np.array([0.0, -1, 6, 5]), STILL, 6)
    assert (letterboxed[[0, -1]] == IGNORED).all()
    np.testing.assert_array_equal(letterboxed[1:-1], grid)


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (0, -10, 60, 50), (-3, 0, 63, 40)])
def test_maps_are_laid_back_over_the_example(box: tuple[int, ...]) -> None:
    grid = np.zeros((40, 60), dtype=np.uint8)
    grid[10:30, 15:45] = 1
    placed = np.array(box, dtype=np.float32)
    seen = in_view(grid, placed, STILL, 66)
    found = highest(np.stack([seen == 0, seen == 1]).astype(np.float32), placed)
    assert found.shape == grid.shape
    assert (found == grid).mean() > 0.98


def test_values_between_cells_are_torch_s_bilinear_ones() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 7, 9)).astype(np.float32)
    resized = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], (40, 60), mode="bilinear")[0]
    found = highest(maps, np.array([0, 0, 60, 40], dtype=np.float32))
    assert (found == resized.argmax(0).numpy()).mean() > 0.999


def test_the_loss_is_cross_entropy_with_dice_of_known_points_and_falls() -> None:
    task = TASKS.get("segmentation")(("a", "b"))
    torch.manual_seed(0)
    head = task.head({"pooled": 4, "fine": 4, "middle": 4, "coarse": 4}, 0.0)
    read = {"fine": torch.rand(2, 4, 8, 8), "middle": torch.rand(2, 4, 4, 4), "coarse": torch.rand(2, 4, 2, 2)}
    grid = np.zeros((16, 16), dtype=np.uint8)
    grid[4:12, 4:12] = 1
    label = json.dumps({"size": [16, 16], "classes": ["a", "b"], "mask": recorded(grid, "ab")["mask"]})
    targets = task.encode([label, label])
    placed = {
        "box": np.array([[0, 0, 16, 16], [0, -8, 16, 24]], dtype=np.float32),
        "flips": np.zeros((2, 2), dtype=bool),
    }
    encoded = torch.from_numpy(task.encoded(targets, placed))
    assert (encoded[1] == IGNORED).float().mean() == 0.5
    loss = task.objective(targets, balanced=False, smoothing=0.0)
    sure = torch.nn.functional.one_hot(encoded.clamp(max=1), 2).movedim(3, 1) * 40.0
    assert float(loss(sure, encoded)) == pytest.approx(0, abs=1e-3)
    even = torch.zeros(2, 2, 16, 16)
    share = float((encoded == 1).sum() / (encoded != IGNORED).sum())
    dice = [2 * 0.5 * one / (0.5 + one) for one in (share, 1 - share)]
    assert float(loss(even, encoded)) == pytest.approx(np.log(2) + 1 - np.mean(dice), abs=1e-5)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        value = loss(head(read), encoded)
        losses.append(float(value.detach()))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert head(read).shape == (2, 2, 16, 16)
    assert losses[-1] < losses[0] / 2
