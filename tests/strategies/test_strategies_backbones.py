"""One step of a probe and of fine-tuning on every backbone, at its smallest input."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from problems import drained, opened, problem
from regraft.backbones._backbone import BACKBONES, Backbone
from regraft.strategies import finetune, probe


@pytest.fixture(scope="module", params=list(BACKBONES))
def smallest(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """The default variant with random weights, for the smallest input it takes."""
    family = BACKBONES.get(request.param).FAMILY
    backbone = opened(f"{family.name}@random", family.smallest_px)
    yield backbone
    backbone.tensors_path.unlink()


def test_a_probe_is_solved_and_a_middle_cut_takes_a_step(smallest: Backbone) -> None:
    cut = smallest.cuts[len(smallest.cuts) // 2]
    asked = problem(smallest, cut, examples=6)
    _, probed = drained(probe.fit(replace(asked, cut="output", states=asked.top), probe.Options(c=0.01, folds=2)))
    assert probed.logits(asked, asked.train).shape == (6, 3)
    assert probed.tensors["head/weight"].shape == (3, smallest.card.width)

    _, tuned = drained(finetune.fit(asked, finetune.Options(epochs=1, min_steps=0, batch=6, patience=0)))
    logits = tuned.logits(asked, asked.train)
    assert logits.shape == (6, 3)
    assert np.isfinite(logits).all()
    assert {name.partition("/")[0] for name in tuned.tensors} == {
        "head", *smallest.card.stages[smallest.card.stages.index(cut) + 1 :],
    }  # fmt: skip
    before = smallest.network.tensors()
    for name in tuned.frozen:
        np.testing.assert_array_equal(tuned.tensors[name], before[name].numpy())
    assert not np.array_equal(tuned.tensors["head/weight"], np.zeros((3, smallest.card.width)))
