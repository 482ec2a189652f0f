"""What a package offers is what its `__all__` says, in order; every module says what it is."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "regraft"


def bound_names(source: str) -> set[str]:
    """Public names that a package's `__init__` binds of its own: its definitions, and imports from the package."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        match node:
            case ast.ImportFrom(module=module, level=level) if level or (module or "").split(".")[0] == "regraft":
                names |= {alias.asname or alias.name for alias in node.names}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def declares_all(path: Path) -> bool:
    targets = [t for n in ast.parse(path.read_text()).body if isinstance(n, ast.Assign) for t in n.targets]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


def module_name(path: Path) -> str:
    inside = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return ".".join(inside.relative_to(PACKAGE.parent).parts)


@pytest.mark.parametrize(
    "path", [path for path in sorted(PACKAGE.rglob("*.py")) if declares_all(path)], ids=module_name
)
def test_exported_names_are_sorted_and_complete_and_can_be_had(path: Path) -> None:
    module = import_module(module_name(path))
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    if path.name == "__init__.py":
        assert bound_names(path.read_text()) <= set(module.__all__)


def test_the_checker_counts_definitions_and_our_own_imports_only() -> None:
    source = (
        "import os\nfrom typing import Any\nfrom regraft.a import b as c, _d\nE: int = 1\nF = _g = 2\ndef h(): ...\n"
    )
    assert bound_names(source) == {"c", "E", "F", "h"}


def test_every_module_says_what_it_is(package: Path, sources: dict[Path, str]) -> None:
    trees = {path: ast.parse(source) for path, source in sources.items()}
    silent = [
        str(path.relative_to(package)) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)
    ]
    assert not silent, f"no module docstring: {', '.join(silent)}"
