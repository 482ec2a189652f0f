"""What boxes are as targets and outputs, and how a head learns them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.contracts.example import File
from regraft.contracts.metric import metric
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import TASKS
from regraft.errors import BadData
from regraft.modalities.image.masks import palette


def test_what_is_recorded_of_outputs_gives_the_same_outputs() -> None:
    task = TASKS.get("detection")(("a", "b"))
    raw = np.empty(2, dtype=object)
    random = np.random.default_rng(0)
    for at in range(2):
        corners = np.sort(random.uniform(0, 50, (30, 2, 2)), axis=1)
        raw[at] = {"boxes": corners.reshape(30, 4).astype(np.float32), "scores": random.random((30, 2))}
    outputs = task.outputs(raw)
    again = task.restored(json.loads(json.dumps(task.recorded(outputs))))
    targets = task.encode(['[{"label": "a", "box": [1, 2, 30, 40]}]', "[]"])
    for name in ("boxes", "labels", "scores"):
        assert all(np.array_equal(one[name], other[name]) for one, other in zip(outputs, again, strict=True))
    assert metric("map").compute(targets, outputs) == metric("map").compute(targets, again)


@pytest.mark.parametrize("label", ["cat", "[1]", '[{"label": "a"}]', '[{"label": "a", "box": [1, 2, 3]}]'])
def test_a_label_that_is_no_list_of_boxes_is_refused(label: str) -> None:
    with pytest.raises(BadData, match="not a list of boxes"):
        TASKS.get("detection")(("a",)).encode([label])


def test_a_box_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(BadData, match="'c' of a box is unknown"):
        TASKS.get("detection")(("a", "b")).encode(['[{"label": "c", "box": [1, 2, 3, 4]}]'])


def test_a_cell_learns_the_smallest_box_that_suits_its_map_and_the_loss_falls() -> None:
    import torch

    from regraft.nn.pyramid import owners

    task = TASKS.get("detection")(("a", "b"))
    torch.manual_seed(0)
    head = task.head({"pooled": 4, "fine": 4, "middle": 4, "coarse": 4}, 0.0)
    read = {"fine": torch.rand(1, 4, 16, 16), "middle": torch.rand(1, 4, 8, 8), "coarse": torch.rand(1, 4, 4, 4)}
    label = '[{"label": "b", "box": [0, 0, 120, 120]}, {"label": "a", "box": [40, 40, 70, 72]}]'
    whole = {"box": np.array([[0, 0, 128, 128]], dtype=np.float32), "flips": np.zeros((1, 2), dtype=bool)}
    encoded = {name: torch.from_numpy(one) for name, one in task.encoded(task.encode([label]), whole).items()}
    output = head(read)
    assert {name: tuple(one.shape) for name, one in output.items()} == {
        "scores": (1, 336, 2), "centre": (1, 336, 1), "boxes": (1, 336, 4), "cells": (1, 336, 3),
    }  # fmt: skip
    owner, away = owners(output["cells"], encoded["boxes"], encoded["labels"])
    fine, middle, coarse = owner[0].split([256, 64, 16])
    assert set(fine.tolist()) == {-1, 1}
    assert set(middle.tolist()) <= {-1, 0, 1}
    assert set(coarse.tolist()) == {-1, 0}
    assert bool((away[0, owner[0] >= 0, owner[0][owner[0] >= 0]] > 0).all())
    loss = task.objective(task.encode([label]), balanced=False, smoothing=0.0)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        losses.append(float(loss(head(read), encoded).detach()))
        optimiser.zero_grad()
        loss(head(read), encoded).backward()
        optimiser.step()
    assert losses[-1] < losses[0] / 2


def test_predicted_boxes_are_drawn_over_the_image_in_the_colours_of_their_classes(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "grey.png")
    record = [
        {"label": "dog", "score": 0.9, "box": [10.0, 20.0, 30.0, 40.0]},
        {"label": "cat", "score": 0.1, "box": [40.0, 30.0, 60.0, 46.0]},
    ]
    marks = TASKS.get("detection")(("cat", "dog")).marks(record)
    ((name, png),) = MODALITIES.get("image").marked(File(tmp_path / "grey.png"), marks).items()
    shown, colour = np.asarray(Image.open(io.BytesIO(png))), palette()[2]
    assert name == ".overlay.png"
    assert all((shown[y, x] == colour).all() for y, x in ((20, 10), (39, 29), (20, 29), (39, 10), (30, 10)))
    assert (shown[30, 20] == 90).all(), "the inside stays clear"
    assert (shown[30:46, 40:60] == 90).all(), "a box below the score of predictions is not drawn"


def test_texts_beside_boxes_stay_inside_and_hide_one_another_only_where_there_is_no_room(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), (90, 90, 90)).save(tmp_path / "grey.png")
    corner = [{"label": name, "score": 0.9, "box": [76.0, 40.0, 80.0, 50.0]} for name in ("cat", "dog")]
    marks = TASKS.get("detection")(("cat", "dog")).marks(corner)
    ((_, png),) = MODALITIES.get("image").marked(File(tmp_path / "grey.png"), marks, 480).items()
    shown = np.asarray(Image.open(io.BytesIO(png)))
    assert shown.shape == (360, 480, 3)
    areas = [(shown == palette()[number]).all(axis=2) for number in (1, 2)]
    rows = [np.flatnonzero(area.sum(axis=1) > 30) for area in areas]
    for area, found in zip(areas, rows, strict=True):
        assert len(found) > 5, "the ground of the text"
        assert area[found].any(axis=0)[:456].any(), "it begins left of the box, since it would be cut off"
    assert not set(rows[0].tolist()) & set(rows[1].tolist())
