"""What no source file may do: grow without end, execute what it reads, print, or swallow every error."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_LINES = 400
EXECUTING = {"_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
HARMLESS = {"PickleError", "UnpicklingError"}
"""What may be had of pickle: the errors that torch.load raises."""


def offences(source: str, *, may_print: bool = False) -> list[str]:
    """Each forbidden thing in `source` as `line: what`."""
    return [f"{node.lineno}: {what}" for node in ast.walk(ast.parse(source)) for what in _offence(node, may_print)]


def _offence(node: ast.AST, may_print: bool) -> Iterator[str]:
    match node:
        case ast.Import(names=names) if any(a.name.split(".")[0] in EXECUTING for a in names):
            yield f"import {', '.join(a.name for a in names)}"
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in EXECUTING:
            yield f"import from {module}"
        case ast.Import(names=names) if any(a.name == "pickle" and a.asname for a in names):
            yield "pickle under another name"
        case ast.ImportFrom(module="pickle", names=names) if not {a.name for a in names} <= HARMLESS:
            yield "import from pickle"
        case ast.Attribute(value=ast.Name(id="pickle"), attr=attr) if attr not in HARMLESS:
            yield f"pickle.{attr}"
        case ast.ExceptHandler(type=None):
            yield "bare except"
        case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
            yield f"{name}()"
        case ast.Call(func=ast.Name(id="print")) if not may_print:
            yield "print() outside a door"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")) if not _says(
            node, "weights_only", True
        ):
            yield "torch.load() without weights_only=True"
        case ast.Call() if _says(node, "allow_pickle", True) or _says(node, "trust_remote_code", True):
            yield "a load that may execute what it reads"
        case (
            ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="path"))
            | ast.Subscript(value=ast.Attribute(value=ast.Name(id="sys"), attr="path"))
            | ast.Attribute(value=ast.Name(id="sys"), attr="path", ctx=ast.Store())
        ):
            yield "sys.path changed"


def _says(call: ast.Call, keyword: str, value: bool) -> bool:
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def test_no_file_outgrows_the_limit(package: Path, sources: dict[Path, str]) -> None:
    long = {str(path.relative_to(package)): n for path, text in sources.items() if (n := text.count("\n")) > MAX_LINES}
    assert not long, f"which second noun lives in these files of more than {MAX_LINES} lines? {long}"


def test_no_file_does_what_is_forbidden(package: Path, sources: dict[Path, str]) -> None:
    found = [
        f"{path.relative_to(package)}:{offence}"
        for path, source in sources.items()
        for offence in offences(source, may_print=package / "doors" in path.parents)
    ]
    assert not found, "\n".join(found)


def test_no_file_leaves_work_for_later(package: Path, sources: dict[Path, str]) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    found = [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path, source in sources.items()
        for number, line in enumerate(source.splitlines(), start=1)
        if any(mark in line for mark in marks)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle as p",
        "from pickle import loads",
        "import dill",
        "import joblib.memory",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "print(1)",
        "try:\n    pass\nexcept:\n    pass",
        "eval('1')",
        "exec('1')",
        "__import__(name)",
        "sys.path.insert(0, here)",
    ],
)
def test_the_checker_finds_each_forbidden_thing(source: str) -> None:
    assert len(offences(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from pickle import UnpicklingError",
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "np.load(path)",
        "'print(1)'",
    ],
)
def test_the_checker_lets_their_lawful_kin_pass(source: str) -> None:
    assert offences(source) == []


def test_a_door_may_print() -> None:
    assert offences("print(1)", may_print=True) == []
