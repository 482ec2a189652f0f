"""Strategies: what there is, by which names, with which options. Read from the source, so that nothing is loaded."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regraft.contracts.strategy import Preset
from regraft.errors import UnknownName
from regraft.registry import Shelf
from regraft.workbench.fields import Field, fields_of, first_line, tree_of

_SHELF = Shelf[Any]("strategy", "regraft.strategies")
_REGULARISERS = Shelf[Any]("regulariser", "regraft.strategies.regularisers")


@dataclass(frozen=True, kw_only=True)
class RegulariserFacts:
    """What a strategy may be held back by."""

    name: str
    """What the option `regulariser` takes."""
    title: str
    """One line for people."""
    weight: float
    """The published weight, which is used unless another is given."""


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """One strategy."""

    name: str
    """The name of its file."""
    title: str
    """One line for people."""
    presets: Mapping[str, Preset]
    """Its presets, by name."""
    options: tuple[Field, ...]
    """What `[options]` of a recipe, or `--set options.NAME=VALUE`, may set."""
    regularisers: tuple[RegulariserFacts, ...] = ()
    """Every regulariser, where the strategy takes one."""


def strategies(name: str = "") -> tuple[StrategyFacts, ...]:
    """Every strategy; with `name`, the one of that name or with a preset of that name.

    Raises:
        UnknownName: there is neither; the nearest is offered.
    """
    every = tuple(map(_facts, _SHELF))
    if not name:
        return every
    found = tuple(one for one in every if name in _names(one))
    if not found:
        raise UnknownName("strategy", name, {known for one in every for known in _names(one)})
    return found


def _names(facts: StrategyFacts) -> set[str]:
    return {facts.name, *facts.presets}


def _facts(name: str) -> StrategyFacts:
    tree = tree_of(_SHELF, name)
    options = fields_of(tree, "Options")
    return StrategyFacts(
        name=name,
        title=first_line(tree),
        presets=_presets(tree),
        options=options,
        regularisers=regularisers() if any(option.name == "regulariser" for option in options) else (),
    )


def regularisers() -> tuple[RegulariserFacts, ...]:
    """Every regulariser, read from its source."""
    trees = {name: tree_of(_REGULARISERS, name) for name in _REGULARISERS}
    return tuple(
        RegulariserFacts(name=name, title=first_line(tree), weight=_weight(tree)) for name, tree in trees.items()
    )


def _weight(tree: ast.Module) -> float:
    """The value of `WEIGHT = …`, which is a literal."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="WEIGHT")], value=ast.Constant(value=float(weight))):
                return weight
    raise ValueError("a regulariser defines WEIGHT, a literal")


def _presets(tree: ast.Module) -> dict[str, Preset]:
    """The entries of `PRESETS = {name: Preset(...)}`, whose arguments are literals."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="PRESETS")], value=ast.Dict(keys=keys, values=values)):
                return {
                    ast.literal_eval(key): Preset(
                        **{str(given.arg): ast.literal_eval(given.value) for given in value.keywords}
                    )
                    for key, value in zip(keys, values, strict=True)
                    if key is not None and isinstance(value, ast.Call)
                }
    return {}
