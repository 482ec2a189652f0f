"""Descriptions of settings: fields of a class with the docstring under each; and strategies with presets and options.
Read from source code, so that nothing is imported."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regraft.errors import UnknownName
from regraft.registry import Shelf
from regraft.values import Preset

_SHELF = Shelf[Any]("strategy", "regraft.strategies")
_REGULARISERS = Shelf[Any]("regulariser", "regraft.strategies.regularisers")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting."""

    name: str
    """Name in a recipe."""
    kind: str
    """Type, as written in the source."""
    default: str
    """Default, as written in the source; empty if there is none."""
    sentence: str
    """Description, with its unit."""


@cache
def recipe_fields() -> Mapping[str, Field]:
    """Return every field of a recipe by its path, such as `seed` or `source.label_column`, without options of
    strategies and augmentations."""
    tree = tree_of_module("regraft.recipe")
    sections = {"": "Recipe", "source.": "Source", "target.": "Target", "decision.": "Decision", "seen.": "Seen"}
    return {f"{start}{one.name}": one for start, kind in sections.items() for one in fields_of(tree, kind)}


def tree_of(shelf: Shelf[Any], name: str) -> ast.Module:
    """Return the parsed source of an entry without importing it (its parent packages are imported).

    Raises:
        UnknownName: there is no such entry.
    """
    return tree_of_module(shelf.module(name))


def tree_of_module(module: str) -> ast.Module:
    """Return the parsed source of a module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def first_line(tree: ast.Module) -> str:
    """Return the first line of a module's docstring."""
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def fields_of(tree: ast.Module, name: str) -> tuple[Field, ...]:
    """Return the fields of the class `name` in order, inherited ones first; empty if there is no such class. A
    redeclared field without a docstring keeps the inherited one."""
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        return ()
    fields: dict[str, Field] = {}
    for base in found.bases:
        if isinstance(base, ast.Name):
            fields |= {field.name: field for field in fields_of(_tree_with(tree, base.id), base.id)}
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _of_class(node):
            inherited = fields.get(node.target.id)
            fields[node.target.id] = Field(
                name=node.target.id,
                kind=ast.unparse(node.annotation),
                default="" if node.value is None else ast.unparse(node.value),
                sentence=_text(after) or (inherited.sentence if inherited else ""),
            )
    return tuple(fields.values())


def _of_class(node: ast.AnnAssign) -> bool:
    """Return whether the annotation is a `ClassVar`, and so not a field."""
    return ast.unparse(node.annotation).startswith("ClassVar")


def _tree_with(tree: ast.Module, name: str) -> ast.Module:
    """Return the module that `tree` imports `name` from; `tree` itself if it does not import it."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            return tree_of_module(node.module)
    return tree


def _text(node: ast.stmt | None) -> str:
    """Return a statement's string on one line, if it is a bare string; else empty."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


@dataclass(frozen=True, kw_only=True)
class RegulariserFacts:
    """A regulariser."""

    name: str
    """Value for the option `regulariser`."""
    title: str
    """One-line description."""
    weight: float
    """Published weight, used by default."""


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """One strategy."""

    name: str
    """Name of its file."""
    title: str
    """One-line description."""
    presets: Mapping[str, Preset]
    """Presets by name."""
    options: tuple[Field, ...]
    """Options, set by `[options]` in a recipe or `--set options.NAME=VALUE`."""
    regularisers: tuple[RegulariserFacts, ...] = ()
    """Regularisers, if the strategy takes one."""


def strategies(name: str = "") -> tuple[StrategyFacts, ...]:
    """Return all strategies; with `name`, the one with that name or preset.

    Raises:
        UnknownName: there is none; the message suggests the nearest name.
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


@cache
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
    """Return all regularisers, read from source."""
    trees = {name: tree_of(_REGULARISERS, name) for name in _REGULARISERS}
    return tuple(
        RegulariserFacts(name=name, title=first_line(tree), weight=_weight(tree)) for name, tree in trees.items()
    )


def _weight(tree: ast.Module) -> float:
    """Return the value of `WEIGHT = …`, a literal."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="WEIGHT")], value=ast.Constant(value=float(weight))):
                return weight
    raise ValueError("a regulariser defines WEIGHT, a literal")


def _presets(tree: ast.Module) -> dict[str, Preset]:
    """Return the entries of `PRESETS = {name: Preset(...)}`, whose arguments are literals."""
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
