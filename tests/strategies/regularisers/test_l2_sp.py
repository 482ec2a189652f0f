"""L2-SP against its formula in numpy."""

import numpy as np
import pytest
import torch

from problems import batch_of, fitted, problem, ways
from regraft.backbones.backbone import Backbone
from regraft.nn.stages import PooledHead
from regraft.strategies import finetune
from regraft.strategies.regularisers.regulariser import build
from regraft.strategies.tail import STATISTICS, Tail

FINETUNE = next(way for way in ways() if way.name == "finetune")


@pytest.mark.parametrize(("cut", "sides"), [("5a", 0), ("4c", 3)])
def test_it_is_half_the_squared_distance_to_the_start_and_half_the_heads_square(
    cut: str, sides: int, tiny: Backbone
) -> None:
    asked, random = problem(tiny, cut, examples=6), torch.Generator().manual_seed(0)
    tail = Tail(tiny.fresh_network(), cut, PooledHead(256, 3), "pooled", batch_norm="train", side_outputs=sides)
    held = build("l2_sp", asked, tail, 0.2)
    with torch.no_grad():
        for parameter in tail.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    state = {name: torch.from_numpy(array) for name, array in asked.states.batch(asked.train, 0 * asked.train).items()}
    found = held(tail, batch_of(tail.train(), state, asked))

    before, after = tiny.tensors(), {name: tensor.detach().numpy() for name, tensor in tail.tensors().items()}
    moved = [name for name in after if not name.startswith("head/") and not name.endswith(STATISTICS)]
    assert any(name.endswith("bn.weight") for name in moved)
    distance = sum(np.sum((after[name].astype(np.float64) - before[name]) ** 2) for name in moved)
    fresh = [after["head/weight"], after["head/bias"], *(p.detach().numpy() for p in tail.side_heads.parameters())]
    norm = sum(np.sum(array.astype(np.float64) ** 2) for array in fresh)
    assert found.item() == pytest.approx(0.5 * 0.2 * distance + 0.5 * 0.01 * norm, rel=1e-5)


def test_a_heavy_weight_leaves_the_stages_nearer_to_where_they_started(tiny: Backbone) -> None:
    asked, before = problem(tiny, "5a", examples=18), tiny.tensors()

    def distance(weight: float) -> float:
        options = finetune.Options(
            epochs=4, min_steps=0, lr=3e-3, clip_norm=0.0, regulariser="l2_sp", regulariser_weight=weight
        )
        tensors = fitted(FINETUNE, asked, options).tensors
        return sum(float(np.sum((tensors[name] - before[name]) ** 2)) for name in tensors if name in before)

    assert distance(100.0) < 0.5 * distance(0.001)
