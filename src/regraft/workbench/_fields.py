"""The fields of a settings class, each with the sentence under it, read from the source without running it."""

import ast
from dataclasses import dataclass
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
    """The fields of the class `name`, in the order they are written; none where there is no such class."""
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        return ()
    fields = []
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            fields.append(
                Field(
                    name=node.target.id,
                    kind=ast.unparse(node.annotation),
                    default="" if node.value is None else ast.unparse(node.value),
                    sentence=_text(after),
                )
            )
    return tuple(fields)


def _text(node: ast.stmt | None) -> str:
    """The string that stands alone as a statement, on one line; empty where there is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""
