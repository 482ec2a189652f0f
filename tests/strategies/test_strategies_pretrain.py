"""Pretraining: its terms of the loss against their formulas, its sampler, inputs that grow, what is left behind, and
where it cannot be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from problems import batch_of, fitted, in_folder, log_loss, losses, problem, same, ways
from regraft.backbones.backbone import Backbone
from regraft.contracts.strategy import Problem
from regraft.errors import BadData, BadRecipe, BadRequest
from regraft.nn.heads import PooledHead
from regraft.strategies import finetune, pretrain
from regraft.strategies._batches import Draw
from regraft.strategies._pretraining import TEMPERATURE, Contrast, Projector, Resize, draws_of, resize_of
from regraft.strategies.tail import Tail

WAY = next(way for way in ways() if way.name == "pretrain")
SCRATCH = next(way for way in ways() if way.name == "finetune-scratch")
QUICK = pretrain.Options(epochs=3, min_steps=0, batch=12, contrast=0.5)


def drawn(asked: Problem, size: int, epoch: int, **options: float) -> list[Draw]:
    """The batches of an epoch, each of at most so many different examples."""
    draws = draws_of(asked, pretrain.Options(**options), size, 1)  # type: ignore[arg-type]
    assert draws is not None
    return draws(epoch)


def test_without_anything_asked_for_it_is_training_from_scratch_to_the_bit(tiny: Backbone) -> None:
    asked, few = problem(tiny, "input", views=0, examples=18), {"epochs": 2, "min_steps": 0, "batch": 9}
    scratch = finetune.Options(**{**finetune.PRESETS["scratch"].options, **few})
    assert same(fitted(WAY, asked, pretrain.Options(**few)), fitted(SCRATCH, asked, scratch))


def written_out(compared: np.ndarray) -> float:
    """The mean over all rows i of -log( exp(z_i z_j / t) / sum over k other than i of exp(z_i z_k / t) ), z_j being the
    other view of z_i: equation 1 of Chen et al. 2020."""
    z = compared / np.linalg.norm(compared, axis=1, keepdims=True)
    half, terms = len(z) // 2, []
    for i in range(len(z)):
        others = [np.exp(float(z[i] @ z[k]) / TEMPERATURE) for k in range(len(z)) if k != i]
        terms.append(-np.log(np.exp(float(z[i] @ z[(i + half) % len(z)]) / TEMPERATURE) / sum(others)))
    return float(np.mean(terms))


def test_the_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    contrast, features = Contrast(16, weight=0.7).double(), torch.randn(10, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = written_out(contrast.layers(features).numpy())
        assert float(contrast.compared(features)) == pytest.approx(expected, rel=1e-5)


def test_views_that_agree_cost_less_than_views_that_do_not() -> None:
    torch.manual_seed(0)
    contrast, features = Contrast(16, weight=1.0), torch.randn(8, 16)
    with torch.no_grad():
        agree = contrast.compared(torch.cat([features, features]))
        assert agree < contrast.compared(torch.cat([features, features.flip(0)])) - 1


@pytest.mark.parametrize("views", [0, 2, 3])
def test_every_batch_holds_each_of_its_examples_in_two_views(tiny: Backbone, views: int) -> None:
    asked, seen = problem(tiny, "5a", examples=25, views=views), []
    for epoch in range(3):
        draws = drawn(asked, 4, epoch, contrast=0.5)
        assert all(len(draw.examples) <= 8 for draw in draws)
        for examples, numbers, _ in draws:
            half = len(examples) // 2
            assert examples[:half].tolist() == examples[half:].tolist()
            assert (numbers[:half] != numbers[half:]).all()
        assert sorted(np.concatenate([draw.examples for draw in draws]).tolist()) == sorted([*range(25)] * 2)
        seen += np.concatenate([draw.views for draw in draws]).tolist()
    assert set(seen) == set(range(views)) if views else len(set(seen)) == 6


def test_it_shapes_the_features_and_never_enters_the_model(tiny: Backbone) -> None:
    asked = problem(tiny, "5a", views=3)
    plain, contrasted = fitted(WAY, asked, replace(QUICK, contrast=0.0)), fitted(WAY, asked, QUICK)
    assert plain.tensors.keys() == contrasted.tensors.keys()
    assert not np.array_equal(plain.tensors["5b/body.branch1.conv.weight"],
                              contrasted.tensors["5b/body.branch1.conv.weight"])  # fmt: skip


def test_a_model_trained_with_it_predicts_and_its_two_views_agree(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[float] = []
    compare = Contrast.compared

    def watch(self: Contrast, features: torch.Tensor) -> torch.Tensor:
        loss = compare(self, features)
        compared.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(Contrast, "compared", watch)
    asked = problem(tiny, "5a", views=3)
    model = fitted(WAY, asked, replace(QUICK, epochs=20, lr=3e-3))
    assert np.mean(compared[-5:]) < np.mean(compared[:5]) - 0.1
    assert log_loss(model, asked, asked.train) < 0.5


def test_a_run_stopped_in_the_middle_goes_on_as_if_it_had_not(
    tiny: Backbone, tmp_path: Path, every_epoch: None
) -> None:
    asked = problem(tiny, "5a", views=2)
    kept, whole = in_folder(asked, tmp_path), fitted(WAY, asked, QUICK)
    events = WAY.module.fit(kept, QUICK)
    while not (tmp_path / "checkpoint.safetensors").exists():
        next(events)
    events.close()
    resumed = fitted(WAY, kept, QUICK)
    assert losses(resumed) == losses(whole)
    assert same(resumed, whole)


def test_one_kept_view_is_refused(tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match="one view of each example is kept"):
        fitted(WAY, problem(tiny, "5a", views=1), QUICK)


def test_one_training_example_is_refused(tiny: Backbone) -> None:
    with pytest.raises(BadData, match="1 training example"):
        fitted(WAY, problem(tiny, "5a", views=2, examples=1), QUICK)


@pytest.mark.parametrize("mixed", ["mixup", "cutmix"])
def test_mixed_examples_are_refused(mixed: str) -> None:
    with pytest.raises(BadRecipe, match="no other view"):
        pretrain.check(replace(QUICK, **{mixed: 0.2}))


@pytest.mark.parametrize(
    ("field", "value", "range_"),
    [
        ("ema", 1.0, r"in \[0, 1\)"), ("class_balance", 1.1, r"in \[0, 1\]"), ("mixup", -1.0, "0 or more"),
        ("progressive_resize", 0.0, r"in \(0, 1\]"), ("projector", -1, "0 or more"), ("contrast", -0.1, "0 or more"),
        ("lr", 0.0, "positive"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named_with_its_range_and_default(field: str, value: float, range_: str) -> None:
    default = getattr(pretrain.Options(), field)
    with pytest.raises(BadRecipe, match=rf"options\.{field} is {value}.*{range_}.*\n.*default {default}"):
        pretrain.check(replace(pretrain.Options(), **{field: value}))


def test_without_contrast_and_balance_the_loop_draws_every_example_once(tiny: Backbone) -> None:
    assert draws_of(problem(tiny, "5a"), pretrain.Options(), 8, 1) is None


def test_rare_classes_are_drawn_more_often_by_the_share_asked_for(tiny: Backbone) -> None:
    asked = problem(tiny, "output", examples=100)
    asked = replace(asked, targets=np.array([0] * 81 + [1] * 16 + [2] * 3))
    counts = {}
    for share in (0.5, 1.0):
        examples = np.concatenate([draw.examples for draw in drawn(asked, 8, 0, class_balance=share)])
        counts[share] = np.bincount(asked.targets[examples])
        assert len(examples) == 100
    assert np.abs(counts[1.0] - 100 / 3).max() < 1
    roots = np.sqrt([81, 16, 3])
    assert np.abs(counts[0.5] - 100 * roots / roots.sum()).max() < 1


def test_an_example_drawn_again_is_seen_in_another_view(tiny: Backbone) -> None:
    asked = replace(problem(tiny, "input", views=0, examples=20), targets=np.array([0] * 18 + [1] * 2))
    draws = drawn(asked, 8, 3, class_balance=1.0)
    seen = [(int(e), int(v)) for draw in draws for e, v in zip(draw.examples, draw.views, strict=True)]
    assert len(set(seen)) == len(seen) == 20
    rare = [pair for pair in seen if pair[0] >= 18]
    assert len(rare) == 10
    assert {example for example, _ in rare} == {18, 19}
    assert {view for example, view in seen if example < 18} == {4}


def test_behind_a_projector_the_head_learns_and_shapes_nothing(tiny: Backbone) -> None:
    torch.manual_seed(0)
    head, projector = PooledHead(256, 3), Projector(256, 16, 3)
    torch.nn.init.normal_(head.weight)
    tail = Tail(tiny.fresh_network(), "5a", head, "pooled", batch_norm="frozen", terms={"projector": projector},
                head_apart=True).train()  # fmt: skip
    asked = problem(tiny, "5a", examples=6)
    plain = asked.states.batch(np.arange(6), np.zeros(6, dtype=np.int64))
    batch = batch_of(tail, {name: torch.from_numpy(array) for name, array in plain.items()}, asked)
    batch.passed.logits.square().sum().backward(retain_graph=True)
    assert head.weight.grad is not None
    assert all(parameter.grad is None for parameter in tail.stages.parameters())
    projector(tail, batch).backward()
    assert any(parameter.grad is not None for parameter in tail.stages.parameters())
    assert not any("projector" in name for name in tail.tensors())


def test_a_model_trained_behind_a_projector_predicts_by_its_head(tiny: Backbone) -> None:
    asked = problem(tiny, "input", views=0, examples=24)
    model = fitted(WAY, asked, pretrain.Options(epochs=25, min_steps=0, batch=8, lr=3e-3, projector=32))
    right = model.logits(asked, asked.train).argmax(1) == asked.targets[asked.train]
    assert right.mean() > 0.8
    assert {name.partition("/")[0] for name in model.tensors} == {*tiny.card.stages, "head"}
    assert model.curve[0]["projector"] > model.curve[-1]["projector"]


def test_sides_rise_in_steps_of_eight_and_the_last_third_is_whole() -> None:
    resize = Resize(start=0.5, smallest=32)
    sides = [resize.side(64, epoch, 12) for epoch in range(12)]
    assert sides == [32, 32, 40, 40, 48, 48, 56, 56, 64, 64, 64, 64]
    assert [resize.share(epoch, 12) for epoch in (0, 4, 8, 11)] == [0.5, 0.75, 1.0, 1.0]


def test_no_side_is_smaller_than_the_network_needs_or_larger_than_the_whole() -> None:
    assert Resize(start=0.1, smallest=33).side(64, 0, 9) == 40
    assert Resize(start=0.1, smallest=63).side(63, 0, 9) == 63


def test_grids_shrink_by_averaging_and_nothing_else_changes() -> None:
    grid = torch.rand(2, 3, 64, 64)
    state = {"hidden": grid, "mask": torch.ones(2, 64, dtype=torch.bool)}
    shrunk = Resize(start=0.5, smallest=32)(state, 0, 9)
    assert shrunk["mask"] is state["mask"]
    assert shrunk["hidden"].shape == (2, 3, 32, 32)
    assert torch.allclose(
        shrunk["hidden"][..., 2:-2, 2:-2].mean(), F.avg_pool2d(grid, 2)[..., 2:-2, 2:-2].mean(), atol=1e-3
    )
    assert Resize(start=0.5, smallest=32)(state, 8, 9)["hidden"] is grid


def test_a_whole_start_changes_nothing(tiny: Backbone) -> None:
    assert resize_of(problem(tiny, "input", views=0).asked, 1.0) is None


def test_stored_states_do_not_grow(tiny: Backbone) -> None:
    with pytest.raises(BadRequest, match=r"progressive_resize is 0\.5, but at cut '4e'"):
        resize_of(problem(tiny, "4e").asked, 0.5)


def test_weights_for_one_input_size_do_not_grow(tiny: Backbone) -> None:
    fixed = replace(tiny.family, adapt=lambda tensors, card: tensors)
    asked = problem(tiny, "input", views=0)
    with pytest.raises(BadRequest, match="for one input size"):
        resize_of(replace(asked, backbone=replace(asked.backbone, family=fixed)).asked, 0.5)
