"""The check that an extended model still knows its old classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from problems import problem
from regraft.backbones.backbone import Backbone
from regraft.contracts.metric import Sample
from regraft.contracts.page import Finding
from regraft.contracts.strategy import Finished
from regraft.errors import BadRequest
from regraft.strategies.extend import Options, fit, kept
from regraft.values import drained

OLD = Finished(
    name="ants", classes=("a", "b", "c"), weight=np.zeros((3, 4)), bias=np.zeros(3), temperature=1.0,
    reference=None, num_examples=None, standing="not seen by the old model",
)  # fmt: skip


def asked(called_new: int, *, groups: np.ndarray | None = None, max_loss: float = 1.0) -> Finding:
    """40 examples of two of the three old classes, all right before; then so many are called a fourth class, whose own
    10 examples are there too."""
    targets = np.append(np.arange(40) % 2, np.full(10, 3))
    outputs = np.eye(4)[targets] * 0.6 + 0.1
    outputs[:called_new] = [0.2, 0.1, 0.1, 0.6]
    outputs[1:called_new:2] = [0.1, 0.2, 0.1, 0.6]
    ids = [f"{at}.png" for at in range(50)]
    return kept(Sample(targets=targets, outputs=outputs, groups=groups), ids, old=OLD, added=("new",),
                max_loss=max_loss, seed=0)  # fmt: skip


def test_what_was_lost_and_what_is_predicted_as_new_is_told() -> None:
    found = asked(6)
    assert found.score == pytest.approx(-6 / 40)
    assert "on 40 old test examples (not seen by the old model) was 1.000 before and is 0.850" in found.message
    assert "6 of them are predicted as a new class" in found.message
    assert found.examples == tuple(f"{at}.png" for at in range(6))
    assert (found.severity, found.check) == ("warn", "old classes kept")
    assert "There are no old test examples of c" in found.message
    assert Finding.from_json(found.to_json()) == found


def test_nothing_lost_is_accepted_at_a_limit_of_nought() -> None:
    assert asked(0, max_loss=0.0).severity != "stop"


def test_a_loss_at_the_limit_is_accepted_and_one_beyond_it_refused_with_the_way_out() -> None:
    assert asked(4, max_loss=0.1).severity != "stop"
    found = asked(6, max_loss=0.1)
    assert found.severity == "stop"
    assert found.message.startswith("With new added and nothing else changed, the accuracy")
    assert found.message.endswith("more than the 0.1 allowed. Nothing was written.")
    assert "--max-loss 0.15" in found.fix


def test_a_model_that_got_better_on_old_examples_lost_nothing() -> None:
    """The two old classes share what the new one takes; the first is right once the second is weakened."""
    outputs = np.tile([0.5, 0.3, 0.2], (10, 1))
    old = replace(OLD, classes=("a", "b"))
    found = kept(Sample(targets=np.zeros(10, dtype=np.int64), outputs=outputs, groups=None), ["x"] * 10, old=old,
                 added=("new",), max_loss=0.0, seed=0)  # fmt: skip
    assert (found.severity, found.score) == ("warn", 0.0)


def test_intervals_are_by_group_where_there_are_groups() -> None:
    assert asked(6, groups=np.arange(50) // 2).message != asked(6).message


def test_without_an_old_test_example_it_says_that_nothing_could_be_checked() -> None:
    sample = Sample(targets=np.full(3, 3), outputs=np.full((3, 4), 0.25), groups=None)
    found = kept(sample, ["x"] * 3, old=OLD, added=("new",), max_loss=0.0, seed=0)
    assert (found.severity, found.score) == ("warn", None)
    assert "could not be checked" in found.message


def test_old_rows_are_left_alone_and_few_old_examples_weigh_as_many_as_the_model_was_made_of(tiny: Backbone) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(2, tiny.card.width, generator=random).numpy()
    old = replace(OLD, classes=("plain", "striped"), weight=weight, bias=np.ones(2, np.float32), temperature=2.0)
    heads = {}
    for num_examples in (None, 2000):
        posed = replace(problem(tiny, "output"), old=replace(old, num_examples=num_examples))
        heads[num_examples] = drained(fit(posed, Options()))
        np.testing.assert_array_equal(heads[num_examples].tensors["head/weight"][:2], weight)
    targets = posed.targets[posed.train]
    shares = [
        posed.task.outputs(head.logits(posed, posed.train), 2.0)[targets < 2, 2].mean() for head in heads.values()
    ]
    assert shares[1] < shares[0]
    assert heads[None].calibration.temperature == 2.0


def test_without_a_finished_model_it_is_refused(tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match="not a finished model"):
        list(fit(problem(tiny, "output"), Options()))
