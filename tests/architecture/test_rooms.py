"""What no room may ask of another: its underscore modules, or which of the tasks it has before it.

import-linter cannot express the first: its wildcards stand for whole modules, and `_*` is a part of a name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TASKS = {"classification", "multilabel", "ordinal", "regression"}
HOME = ("tasks", "evaluation/metrics")
"""Where tasks and their metrics live, and know each other's names."""

KNOWN_PRIVATE: set[str] = set()
"""Imports of another room's underscore module that are left. This list may only shrink."""


def private_imports(source: str, room: str) -> Iterator[str]:
    """Underscore modules of other rooms than `room` that `source` imports, under their names without the package's."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                modules = [f"{module}.{alias.name}" for alias in names]
            case _:
                continue
        for parts in (module.split(".") for module in modules):
            private = [at for at, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
            if parts[0] == "regraft" and private and private[0] > 1 and parts[1] != room:
                yield ".".join(parts[1 : private[0] + 1])


def asked_for_names(source: str) -> Iterator[int]:
    """Lines on which something called `kind` is compared with a task's name, or a table of task names is looked up."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(map(_is_kind, sides)) and any(_task_names(side) for side in sides):
                    yield node.lineno
            case ast.Match(subject=subject, cases=cases) if _is_kind(subject) and any(
                _task_names(case.pattern) for case in cases
            ):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[key, *_]) if _is_kind(key):
                if _task_names(table):
                    yield node.lineno
            case ast.Subscript(value=table, slice=key) if _is_kind(key) and _task_names(table):
                yield node.lineno


def _is_kind(node: ast.AST) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "kind") or (
        isinstance(node, ast.Name) and node.id == "kind"
    )


def _task_names(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Constant) and inner.value in TASKS for inner in ast.walk(node))


def test_no_room_imports_what_is_private_to_another(package: Path, sources: dict[Path, str]) -> None:
    found = {
        f"{path.relative_to(package).as_posix()}: {module}"
        for path, text in sources.items()
        for module in private_imports(text, path.relative_to(package).parts[0].removesuffix(".py"))
    }
    print("\n".join(sorted(found)))  # noqa: T201 - for whoever shortens the list
    assert not found - KNOWN_PRIVATE, f"make the module public, or move the name: {sorted(found - KNOWN_PRIVATE)}"
    assert not KNOWN_PRIVATE - found, f"mended; take it off the list: {sorted(KNOWN_PRIVATE - found)}"


KNOWN_KINDS: dict[str, int] = {"data/dataset.py": 4, "data/labels.py": 5}
"""How often a file still asks for a task's name. These numbers may only fall."""


def test_nothing_but_tasks_and_metrics_asks_for_the_name_of_a_task(package: Path, sources: dict[Path, str]) -> None:
    found = {
        path.relative_to(package).as_posix(): lines
        for path, text in sources.items()
        if not path.relative_to(package).as_posix().startswith(HOME) and (lines := list(asked_for_names(text)))
    }
    print("\n".join(f"{name}: lines {', '.join(map(str, lines))}" for name, lines in found.items()))  # noqa: T201 - for whoever shortens the list
    counts = {name: len(lines) for name, lines in found.items()}
    more = {name: found[name] for name, count in counts.items() if count > KNOWN_KINDS.get(name, 0)}
    assert not more, f"ask the task itself for what it needs: {more}"
    fewer = {name: counts.get(name, 0) for name, count in KNOWN_KINDS.items() if counts.get(name, 0) < count}
    assert not fewer, f"mended; lower these numbers: {fewer}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from regraft.lab._run import run", ["lab._run"]),
        ("import regraft.data.sources._unpack as unpack", ["data.sources._unpack"]),
        ("from regraft.lab import _run", ["lab._run"]),
        ("from regraft.workbench._run import run", []),
        ("from regraft.lab.run import Run", []),
        ("from regraft import __version__", []),
    ],
)
def test_the_checker_finds_a_private_import(source: str, found: list[str]) -> None:
    assert list(private_imports(source, "workbench")) == found


@pytest.mark.parametrize(
    "source",
    [
        "if task.kind == 'ordinal': pass",
        "a = kind in ('regression', 'multilabel')",
        "a = 'p' if kind != 'regression' else 'v'",
        "a = {'ordinal': 1}.get(self.kind, 2)",
        "a = {'ordinal': 1}[kind]",
        "match kind:\n    case 'ordinal': pass",
    ],
)
def test_the_checker_finds_a_question_for_a_name(source: str) -> None:
    assert len(list(asked_for_names(source))) == 1


@pytest.mark.parametrize(
    "source", ["if dtype.kind == 'f': pass", "kind == other.kind", "TASKS.get(kind)", "x == 'ordinal'"]
)
def test_the_checker_lets_other_kinds_pass(source: str) -> None:
    assert list(asked_for_names(source)) == []
