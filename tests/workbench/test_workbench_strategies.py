"""Strategies read from their source say what the imported modules say."""

from dataclasses import asdict

import pytest

from regraft.contracts.strategy import STRATEGIES
from regraft.errors import UnknownName
from regraft.strategies.regularisers.regulariser import REGULARISERS
from regraft.workbench.strategies import strategies


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_options_read_from_the_source_are_those_of_the_module(name: str) -> None:
    module = STRATEGIES.get(name)
    (facts,) = strategies(name)
    assert {one.name: one.default for one in facts.options} == {
        key: repr(value) for key, value in asdict(module.Options()).items()
    }
    assert all(one.sentence.endswith((".", ")")) for one in facts.options), "an option without its sentence"
    assert facts.title


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_presets_read_from_the_source_are_those_of_the_module(name: str) -> None:
    (facts,) = strategies(name)
    assert facts.presets == STRATEGIES.get(name).presets


def test_a_strategy_is_found_by_a_presets_name_and_the_nearest_is_offered() -> None:
    assert [one.name for one in strategies("lp_ft")] == ["finetune"]
    with pytest.raises(UnknownName, match="did you mean 'partial'"):
        strategies("partail")


def test_regularisers_read_from_the_source_are_those_of_the_shelf_where_a_strategy_takes_one() -> None:
    for name in STRATEGIES:
        (facts,) = strategies(name)
        takes_one = any(option.name == "regulariser" for option in facts.options)
        expected = {held: REGULARISERS.get(held).weight for held in REGULARISERS} if takes_one else {}
        assert {held.name: held.weight for held in facts.regularisers} == expected
        assert all(held.title for held in facts.regularisers)
    assert strategies("finetune")[0].regularisers
