"""What every study on the shelf promises."""

from typing import get_args

import numpy as np
import pytest
import torch

from regraft.backbones.backbone import family_of
from regraft.backbones.lab import DESIGNS
from regraft.contracts.family import built
from regraft.contracts.study import COUNTED, STUDIES, Measure, Outcome, Study
from regraft.errors import UnknownName
from regraft.lab.judging import Seen, found_of, outcome_of
from regraft.workbench.lab import costs_of

ALL: dict[str, Study] = {name: STUDIES.get(name) for name in STUDIES}
WIDE = ("naive, as wide", "dense", "flat", "bare", "bare, aux")
"""Arms with as many filters as the first, whatever they cost."""


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
        assert effect.share in study.shares
    assert any(effect.key and effect.measure not in COUNTED for effect in study.effects)


@pytest.mark.slow
def test_arms_that_are_to_cost_the_same_do_to_half_a_percent() -> None:
    used = set()
    for study in ALL.values():
        costs = costs_of(study, 20)
        for arm in study.arms:
            used.add(arm.backbone.removeprefix("lab:"))
            if arm.name not in WIDE:
                wanted = costs[study.arms[0].name]["multiply_adds"]
                assert costs[arm.name]["multiply_adds"] == pytest.approx(wanted, rel=0.005), arm.name
    assert used == {"googlenet:half", *DESIGNS}
    assert costs_of(ALL["reductions"], 20)["naive, as wide"] == {"parameters": 23_200_868, "multiply_adds": 258_848_032}


@pytest.mark.parametrize("name", DESIGNS)
def test_a_network_of_the_lab_is_what_its_card_says(name: str) -> None:
    family, variant = family_of("lab", name)
    card = family.card(variant)
    network = built(family, card).network.eval()
    assert tuple(network.stages) == card.stages
    with torch.no_grad():
        seen = network.readouts(network.run({"pixels": torch.zeros((1, *card.input_px, 3), dtype=torch.uint8)}))
    assert seen["pooled"].shape == (1, card.width)


def test_a_wrong_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="network of the lab"):
        family_of("lab", "naiv")


@pytest.mark.parametrize("name", ALL)
def test_a_verdict_follows_the_rows_whichever_way_they_turn_out(name: str) -> None:
    study = ALL[name]
    cost = {arm.name: {"parameters": 1, "multiply_adds": 1} for arm in study.arms}
    for effect in study.effects:
        if effect.measure in COUNTED and effect.key:
            cost[effect.plus] = {"parameters": 99, "multiply_adds": 99}
    assert outcome_of(found_of(study, {}, cost)) == "not resolved at this scale"
    claimed = [one for one in study.effects if one.key and one.measure not in COUNTED]
    level = {arm.name: 0 for arm in study.arms}  # every arm on the claimed side of those that it is to surpass
    for effect in claimed * len(claimed):
        better, worse = (effect.minus, effect.plus) if effect.measure == "gap" else (effect.plus, effect.minus)
        level[better] = max(level[better], level[worse] + 1)
    for sign, outcome in ((1, "as claimed"), (-1, "not here")):
        trained = {
            arm.name: {(share, seed): seen(seed, sign * level[arm.name]) for share in study.shares for seed in range(3)}
            for arm in study.arms
        }
        assert outcome_of(found_of(study, trained, cost)) == outcome


def seen(seed: int, level: int) -> Seen:
    right = np.arange(400) < 400 * (0.5 + 0.1 * level) + seed
    gradients = {"low": 10.0**level, "middle": 1.0, "high": 1.0 + seed / 100}
    return Seen(right=right, gap=0.9 - float(right.mean()), gradients=gradients)
