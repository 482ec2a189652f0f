"""What every strategy promises, in every preset, on a tiny network."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from problems import Way, fitted, in_folder, log_loss, losses, same, ways
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network, stage_tensors
from regraft.contracts.strategy import STRATEGIES, Fitted, Problem
from regraft.errors import RunError
from regraft.strategies.probe import with_start
from regraft.values import Event, Notice, Progress

WAYS = pytest.mark.parametrize("way", ways(), ids=lambda way: way.name)
NAMED = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way.name in STRATEGIES else pytest.mark.slow, id=way.name) for way in ways()]
)
"""Every way too, for tests that train several times; presets and regularisers of a strategy in the slow tier."""
QUICK = {"epochs": 2, "min_steps": 0, "batch": 9}


class Watched(Backbone):
    """A backbone that remembers the networks it gave away."""

    def fresh_network(self) -> Network:
        self.given.append(network := super().fresh_network())
        return network

    @cached_property
    def given(self) -> list[Network]:
        return []


class Trained(NamedTuple):
    """One fit of a way, and what it went with."""

    asked: Problem
    model: Fitted
    networks: list[Network]


@pytest.fixture(scope="module")
def trained(tiny: Backbone) -> Callable[[Way], Trained]:
    """A function from a way to its fit on a problem that it should learn, once for all tests."""

    @cache
    def train(way: Way) -> Trained:
        watched = Watched(**{field.name: getattr(tiny, field.name) for field in fields(tiny)})
        asked = replace(way.problem(tiny), backbone=watched)
        options = way.options(epochs=6, min_steps=0, batch=8, lr=3e-3)
        asked = with_start(replace(asked, solve_start=None), way.module.needs(options))
        return Trained(asked, fitted(way, asked, options), watched.given)

    return train


Train = Callable[[Way], Trained]


@WAYS
def test_the_loss_falls(way: Way, trained: Train) -> None:
    asked, model = trained(way).asked, trained(way).model
    assert log_loss(model, asked, asked.train) < 0.7 * np.log(asked.task.num_outputs)
    if model.curve:
        assert model.curve[-1]["loss"] < model.curve[0]["loss"]


@WAYS
def test_the_head_on_the_features_gives_the_logits(way: Way, trained: Train) -> None:
    asked, model = trained(way).asked, trained(way).model
    features = model.features(asked, asked.train)[0 : len(asked.train)]
    logits = features @ model.tensors["head/weight"].T + model.tensors["head/bias"]
    np.testing.assert_allclose(logits, model.logits(asked, asked.train), rtol=1e-4, atol=1e-5)


@WAYS
def test_what_is_frozen_stays_as_it_was(way: Way, trained: Train, tiny: Backbone) -> None:
    asked, model, before = trained(way).asked, trained(way).model, tiny.tensors()
    assert {name.partition("/")[0] for name in model.tensors} <= {*tiny.network.above(asked.cut), "head"}
    assert model.frozen <= model.tensors.keys()
    for name in model.frozen:
        np.testing.assert_array_equal(model.tensors[name], before[name])
    for network in trained(way).networks:
        for stage, module in network.below(asked.cut).items():
            assert all(parameter.grad is None for parameter in module.parameters())
            for name, tensor in stage_tensors(module).items():
                if stage != "start":
                    np.testing.assert_array_equal(tensor.detach().numpy(), before[f"{stage}/{name}"])


@WAYS
def test_all_that_is_not_frozen_is_trained(way: Way, trained: Train, tiny: Backbone) -> None:
    model, before = trained(way).model, tiny.tensors()
    for name, array in model.tensors.items():
        if name not in model.frozen and name in before:
            assert not np.array_equal(array, before[name]), name


@WAYS
def test_the_shared_network_is_left_alone(way: Way, trained: Train, tiny: Backbone) -> None:
    trained(way)
    stored = tiny.tensors()
    for name, tensor in tiny.network.tensors().items():
        np.testing.assert_array_equal(tensor.numpy(), stored[name])
        assert not tensor.requires_grad


@WAYS
def test_the_tensors_put_into_the_network_give_the_same_logits(way: Way, trained: Train, tiny: Backbone) -> None:
    asked, model = trained(way).asked, trained(way).model
    network = tiny.fresh_network().eval()
    with torch.no_grad():
        for name, tensor in network.tensors().items():
            if name in model.tensors:
                tensor.copy_(torch.from_numpy(model.tensors[name]))
        plain = asked.states.batch(asked.train, np.zeros_like(asked.train))
        state = {name: torch.from_numpy(array) for name, array in plain.items()}
        features = state if asked.cut == "output" else network.readouts(network.run(state, after=asked.cut))
        logits = (
            features[asked.task.reads.readout].numpy() @ model.tensors["head/weight"].T + model.tensors["head/bias"]
        )
    np.testing.assert_allclose(model.logits(asked, asked.train), logits, rtol=1e-4, atol=1e-4)


@WAYS
def test_asking_for_no_logits_gives_none(way: Way, trained: Train) -> None:
    assert trained(way).model.logits(trained(way).asked, np.zeros(0, dtype=np.int64)).shape == (0, 3)


@NAMED
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(way: Way, tiny: Backbone) -> None:
    asked, options = way.problem(tiny, examples=18), way.options(**QUICK)
    one = fitted(way, asked, options)
    torch.rand(5)
    again = fitted(way, asked, options)
    assert same(one, again)
    assert losses(one) == losses(again)
    other = fitted(way, replace(asked, seed=1), options)
    folds_differ = one.out_of_fold is not None and not np.array_equal(one.out_of_fold, other.out_of_fold)
    assert folds_differ or not same(one, other)


@NAMED
def test_torchs_own_generator_is_left_where_it_was(way: Way, tiny: Backbone) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fitted(way, way.problem(tiny, examples=9), way.options(**{**QUICK, "epochs": 1}, dropout=0.5))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.usefixtures("every_epoch")
@NAMED
def test_stopped_anywhere_and_started_again_it_comes_to_the_same_end(way: Way, tiny: Backbone, tmp_path: Path) -> None:
    asked = way.problem(tiny, examples=24, val=6)
    options = way.options(**{**QUICK, "epochs": 3}, dropout=0.2)
    whole = fitted(way, asked, options)
    kept = in_folder(asked, tmp_path)
    for _ in whole.curve[1:]:
        stopped_at(way.module.fit(kept, options), lambda event: bool(event.facts))
    if whole.curve:
        seen = stopped_at(way.module.fit(kept, options), lambda event: not event.facts)
        assert [event.topic for event in seen if isinstance(event, Notice)][:1] == ["resume"]
    resumed = fitted(way, kept, options)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)
    assert resumed.facts == whole.facts


def stopped_at(events: Iterator[Event], here: Callable[[Progress], bool]) -> list[Event]:
    """Close the generator at the first progress that fits; what it yielded."""
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, Progress) and here(event):
            events.close()
            return seen
    raise AssertionError("it ended before it could be stopped")


@pytest.mark.usefixtures("every_epoch")
@NAMED
def test_a_folder_of_another_run_is_refused(way: Way, tiny: Backbone, tmp_path: Path) -> None:
    asked = in_folder(way.problem(tiny, examples=9), tmp_path)
    whole = fitted(way, asked, way.options(**QUICK))
    if not whole.curve:
        assert not list(tmp_path.iterdir())
        return
    others = [
        (asked, way.options(**{**QUICK, "lr": 0.002})),
        (replace(asked, seed=1), way.options(**QUICK)),
        (replace(asked, train=asked.train[:-1]), way.options(**QUICK)),
        (replace(asked, targets=asked.targets[::-1].copy()), way.options(**QUICK)),
    ]
    for other, options in others:
        with pytest.raises(RunError, match="another --out"):
            fitted(way, other, options)


@NAMED
def test_one_example_more_than_a_batch_and_fewer_than_one_both_train(way: Way, tiny: Backbone) -> None:
    for examples, batch in ((13, 12), (7, 64), (5, 2)):
        asked = way.problem(tiny, examples=examples)
        model = fitted(way, asked, way.options(epochs=1, min_steps=0, batch=batch))
        assert np.isfinite(model.logits(asked, asked.train)).all()


@NAMED
def test_a_class_without_training_examples_is_no_obstacle(way: Way, tiny: Backbone) -> None:
    asked = way.problem(tiny, examples=18)
    asked = replace(asked, train=asked.train[asked.targets != 2])
    model = fitted(way, asked, way.options(**QUICK, balanced=True))
    logits = model.logits(asked, asked.train)
    assert logits.shape == (12, 3)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) != 2).all()
