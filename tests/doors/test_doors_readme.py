"""What README.md says to type exists, in the words it uses."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

import regraft
from regraft.doors.cli import app

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    """The code blocks of README.md marked so."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text for marked, text in found if marked == language]


def lines() -> list[str]:
    """The command lines of README.md, without comments and redirections."""
    every = [line.partition("#")[0].partition(">")[0].strip() for text in blocks("") for line in text.splitlines()]
    return [line for line in every if line.startswith("regraft ")]


@pytest.mark.parametrize("line", lines())
def test_every_command_of_the_readme_can_be_parsed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    typer.main.get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_the_readme_shows_every_command() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {shlex.split(line)[1] for line in lines()} == set(commands)


def test_the_python_of_the_readme_uses_names_that_exist() -> None:
    from regraft.bundles.bundle import Bundle
    from regraft.workbench.run import Run

    owners = {"regraft": regraft.__all__, "run": dir(Run), "load": dir(Bundle)}
    used = []
    for text in blocks("python"):
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id=owner), attr=name):
                    used.append((owner, name))
                case ast.Attribute(value=ast.Call(func=ast.Attribute(attr=owner)), attr=name):
                    used.append((owner, name))
    assert {owner for owner, _ in used} == set(owners)
    assert [one for one in used if one[1] not in owners[one[0]]] == []
