"""What every study on the shelf promises."""

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from regraft.contracts.family import built
from regraft.contracts.study import STUDIES, Arm, Measure, Outcome, Study
from regraft.lab._arms import Cost, costs_of, counted, family_of
from regraft.lab._report import found_of, outcome_of
from regraft.lab.designs import Widths
from regraft.lab.kept import packed
from regraft.lab.setting import FULL, SMALL
from regraft.nn.stages import PooledHead

ALL: dict[str, Study] = {name: STUDIES.get(name) for name in STUDIES}
ARMS = [pytest.param(arm, id=f"{name}-{arm.name}") for name, study in ALL.items() for arm in study.arms]
COUNTED = ("parameters", "multiply_adds")


def test_the_shelf_holds_the_five_studies() -> None:
    assert set(ALL) >= {"reductions", "scales", "pooling", "auxiliary", "against"}


@pytest.mark.parametrize("name", ALL)
def test_a_study_says_what_is_claimed_by_whom_and_how_it_is_measured(name: str) -> None:
    study = ALL[name]
    assert all((study.title, study.claim, study.measurement))
    assert "arXiv" in study.source
    assert set(study.says) == set(get_args(Outcome))
    assert all(sentence.endswith(".") for sentence in study.says.values())


@pytest.mark.parametrize("name", ALL)
def test_effects_are_of_arms_that_are_trained_and_of_what_is_measured(name: str) -> None:
    study = ALL[name]
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names)
    assert len({effect.name for effect in study.effects}) == len(study.effects)
    for effect in study.effects:
        assert {effect.plus, effect.minus} <= set(names)
        assert effect.measure in get_args(Measure)
        assert effect.measure != "signal" or study.gradients
        assert effect.measure != "transfer" or study.transfer
        assert effect.size == 0 or study.sizes == "all"
    assert any(effect.key and effect.measure not in COUNTED for effect in study.effects)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("setting", [SMALL, FULL], ids=lambda one: one.name)
def test_arms_that_are_to_cost_the_same_do_to_half_a_percent(name: str, setting: Any) -> None:
    study = ALL[name]
    costs = costs_of(study, setting, setting.num_classes)
    first = costs[study.arms[0].name]
    assert first.widths == Widths(stem=setting.width, body=setting.width)
    for arm in study.arms:
        if arm.same == "multiply_adds":
            assert costs[arm.name].multiply_adds == pytest.approx(first.multiply_adds, rel=0.005), arm.name
        else:
            assert costs[arm.name].widths == first.widths


@pytest.mark.parametrize("arm", ARMS)
def test_counts_are_those_of_a_real_forward_pass(arm: Arm) -> None:
    widths, input_px, classes = Widths(stem=0.2, body=0.15), 64, 7
    family = family_of(arm.design, widths, input_px)
    network = built(family, family.card(family.variants[0])).network.eval()
    head, products = PooledHead(family.card("").width, classes), []

    def convolved(layer: nn.Conv2d, _: Any, out: torch.Tensor) -> None:
        kernel = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
        products.append(out.numel() * kernel)

    def multiplied(layer: nn.Linear, _: Any, out: torch.Tensor) -> None:
        products.append(out.numel() * layer.in_features)

    for layer in layers(network.stages.values()):
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(convolved)
        elif isinstance(layer, nn.Linear):
            layer.register_forward_hook(multiplied)
    with torch.no_grad():
        pooled = network.views(network.run({"pixels": torch.zeros((1, input_px, input_px, 3), dtype=torch.uint8)}))
        assert head(pooled["pooled"]).shape == (1, classes)
    held = sum(one.numel() for stage in network.stages.values() for one in stage.parameters())
    found = counted(arm.design, widths, input_px, classes)
    assert found.parameters == held + sum(one.numel() for one in head.parameters())
    assert found.multiply_adds == sum(products) + head.weight.numel()
    sides = [tap.build(classes) for tap in network.side_heads.values()]
    assert found.side_parameters == sum(one.numel() for side in sides for one in side.parameters())


def layers(modules: Any) -> Iterator[nn.Module]:
    for module in modules:
        yield from module.modules()


@pytest.mark.parametrize("name", ALL)
def test_a_verdict_follows_the_rows_whichever_way_they_turn_out(name: str) -> None:
    study = ALL[name]
    cost = {arm.name: Cost(widths=Widths(stem=1, body=1), parameters=1, side_parameters=0, multiply_adds=1)
            for arm in study.arms}  # fmt: skip
    for effect in study.effects:
        if effect.measure in COUNTED and effect.key:
            cost[effect.plus] = Cost(widths=Widths(stem=1, body=1), parameters=99, side_parameters=0, multiply_adds=99)
    assert outcome_of(found_of(study.effects, [], cost, (200, 20), None)) == "not resolved at this scale"
    claimed = [one for one in study.effects if one.key and one.measure not in COUNTED]
    level = {arm.name: 0 for arm in study.arms}  # every arm on the claimed side of those that it is to surpass
    for effect in claimed * len(claimed):
        better, worse = (effect.minus, effect.plus) if effect.measure == "gap" else (effect.plus, effect.minus)
        level[better] = max(level[better], level[worse] + 1)
    for sign, outcome in ((1, "as claimed"), (-1, "not here")):
        rows = [row(arm.name, size, seed, 0.5 + sign * 0.1 * level[arm.name], sign * level[arm.name])
                for arm in study.arms for size in (200, 20) for seed in range(3)]  # fmt: skip
        assert outcome_of(found_of(study.effects, rows, cost, (200, 20), None)) == outcome


def row(arm: str, size: int, seed: int, accuracy: float, signal: int) -> dict[str, Any]:
    right = np.arange(400) < 400 * accuracy + seed
    gradients = {"low": [10.0**signal], "middle": [1.0], "high": [1.0 + seed / 100]}
    return {"arm": arm, "size": size, "seed": seed, "right": packed(right), "transfer": packed(right),
            "train_accuracy": 0.9, "gradients": gradients}  # fmt: skip
