"""Faster R-CNN's head: proposals and their features as torchvision's, and learning a box."""

import numpy as np
import pytest
import torch

from regraft.contracts.task import TASKS
from regraft.nn.boxes import suppressed
from regraft.nn.torchvision import torchvision_models
from regraft.nn.two_stages import OVERLAP, PER_MAP, PROPOSALS, moved, pooled, proposed

WHOLE = {"box": np.array([[0, 0, 128, 128]], dtype=np.float32), "flips": np.zeros((1, 2), dtype=bool)}


def boxes_of(rows: int, count: int) -> torch.Tensor:
    corners = torch.rand(rows, count, 2, 2).sort(dim=2).values
    return corners.flatten(2)


def test_proposals_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_models()
    from torchvision.models.detection import rpn

    def by_level(boxes: torch.Tensor, scores: torch.Tensor, levels: torch.Tensor, limit: float) -> torch.Tensor:
        """Its compiled operator may be missing: ours, which is compared with brute force elsewhere."""
        return torch.from_numpy(suppressed((boxes + 2 * levels[:, None]).numpy(), scores.numpy(), limit))

    monkeypatch.setattr(rpn.box_ops, "batched_nms", by_level)
    torch.manual_seed(0)
    counts, top = [600, 150, 30], {"testing": PROPOSALS}
    reference = rpn.RegionProposalNetwork(None, None, 0.7, 0.3, 1, 0.5, {"testing": PER_MAP}, top, OVERLAP).eval()
    reference.min_size = 0.0
    boxes, objectness = boxes_of(2, sum(counts)), torch.randn(2, sum(counts))
    expected, _ = reference.filter_proposals(boxes, objectness, [(1, 1)] * 2, counts)
    assert all(
        torch.equal(one, other) for one, other in zip(proposed(boxes, objectness, counts), expected, strict=True)
    )


def test_features_of_a_proposal_are_those_of_roi_align() -> None:
    torchvision_models()
    from torchvision.ops.roi_align import _roi_align

    torch.manual_seed(0)
    grid, boxes = torch.rand(2, 3, 8, 12), boxes_of(2, 5)
    rows = torch.arange(2.0).repeat_interleave(5)[:, None]
    rois = torch.cat([rows, (boxes * torch.tensor([12, 8, 12, 8])).flatten(0, 1)], 1)
    expected = getattr(_roi_align, "__wrapped__", _roi_align)(grid, rois, 1.0, 7, 7, 2, True)
    assert torch.allclose(pooled(grid, boxes).flatten(), expected.flatten(), atol=1e-5)


def test_the_same_draws_give_the_same_training_and_the_loss_falls() -> None:
    task = TASKS.get("detection")(("a", "b"), {"detector": "faster_rcnn"})
    targets = task.encode(['[{"label": "b", "box": [30, 40, 90, 110]}]', "[]"])
    placed = {name: one.repeat(2, axis=0) for name, one in WHOLE.items()}
    encoded = {name: torch.from_numpy(one) for name, one in task.encoded(targets, placed).items()}
    loss, losses = task.objective(targets, balanced=False, smoothing=0.0), list[list[float]]()
    for steps in (2, 10):
        torch.manual_seed(0)
        read = {name: torch.rand(2, 4, side, side) for name, side in (("fine", 16), ("middle", 8), ("coarse", 4))}
        head = task.head({"pooled": 4, "fine": 4, "middle": 4, "coarse": 4}, 0.0)
        optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3)
        losses.append([])
        for _ in range(steps):
            value = loss(head(read, encoded), encoded)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            losses[-1].append(float(value.detach()))
    assert losses[0] == losses[1][:2]
    assert losses[1][-1] < losses[1][0] / 2
    with torch.no_grad():
        output = head.eval()(read)
        assert loss(output, encoded) == loss(output, encoded), "validation draws nothing"
    outputs = task.outputs(task.gathered([{name: one.numpy() for name, one in output.items()}], np.arange(2), placed))
    assert all((one["boxes"] >= 0).all() and (one["boxes"] <= 128).all() for one in outputs)


def test_a_box_is_moved_by_shares_of_its_sides() -> None:
    box = torch.tensor([[[0.2, 0.2, 0.6, 0.4]]])
    found = moved(torch.tensor([[[1.0, 0.0, 0.0, float(np.log(2)) * 5]]]), box, 10.0)
    assert torch.allclose(found, torch.tensor([[[0.24, 0.1, 0.64, 0.5]]]), atol=1e-6)
