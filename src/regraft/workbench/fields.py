"""The fields of a settings class, each with the sentence under it, read from the source without running it."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regraft.registry import Shelf


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting."""

    name: str
    """Its name in a recipe."""
    kind: str
    """What kind of value it takes, as the source writes it."""
    default: str
    """The default, as the source writes it; empty where there is none."""
    sentence: str
    """What it means, with its unit."""


@lru_cache(maxsize=1)
def recipe_fields() -> Mapping[str, Field]:
    """Every field of a recipe by its path, such as `seed` or `source.label_column`; the options of strategies and
    augmentations aside."""
    tree = tree_of_module("regraft.recipe")
    sections = {"": "Recipe", "source.": "Source", "target.": "Target", "decision.": "Decision", "seen.": "Seen"}
    return {f"{start}{one.name}": one for start, kind in sections.items() for one in fields_of(tree, kind)}


def tree_of(shelf: Shelf[Any], name: str) -> ast.Module:
    """The parsed source of an entry, which is found but not imported; the packages above it are.

    Raises:
        UnknownName: there is no such entry.
    """
    return tree_of_module(shelf.module(name))


def tree_of_module(module: str) -> ast.Module:
    """The parsed source of a module."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def first_line(tree: ast.Module) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def fields_of(tree: ast.Module, name: str) -> tuple[Field, ...]:
    """The fields of the class `name`, those it inherits first, in the order they are written; none where there is no
    such class. A field that is declared again without a sentence keeps the one it had."""
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
    """Whether it belongs to the class (`ClassVar`), and so is no field."""
    return ast.unparse(node.annotation).startswith("ClassVar")


def _tree_with(tree: ast.Module, name: str) -> ast.Module:
    """The module that `tree` imports `name` from; itself where it imports no such name."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            return tree_of_module(node.module)
    return tree


def _text(node: ast.stmt | None) -> str:
    """The string that stands alone as a statement, on one line; empty where there is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""
