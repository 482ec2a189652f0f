"""Commands on the other pages of the documentation exist, in the words the pages use, and so do their settings."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from regraft.contracts.modality import MODALITIES
from regraft.doors.cli import app
from regraft.workbench.strategies import recipe_fields, strategies

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if path.relative_to(DOCS).parts[0] not in ("results", "verbs", "decisions")
]


def commands() -> list[str]:
    """Every `regraft …` in a block of code or alone in a code span; a line may go on after a backslash."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line.partition(" #")[0] for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`(regraft [^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
        found += [line.partition(" > ")[0].strip() for line in (*lines, *spans) if line.startswith("regraft ")]
    return sorted(set(found))


def known_settings() -> set[str]:
    """Every name that `--set` may take."""
    kinds = [MODALITIES.get(name) for name in MODALITIES]
    options = {f"options.{one.name}" for strategy in strategies() for one in strategy.options}
    augment = {f"augment.{one.name}" for kind in kinds for one in fields(kind.Augmentation)}
    prepare = {f"prepare.{one.name}" for kind in kinds for one in fields(kind.Preparation)}
    return set(recipe_fields()) | options | augment | prepare


@pytest.mark.parametrize("line", commands())
def test_every_command_on_a_page_can_be_parsed(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    get_command(app).commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def test_every_setting_on_a_page_exists() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    named = {name for text in texts for name in re.findall(r"--set [\"']?([a-z_.]+)=", text)}
    assert len(named) > 8
    assert named - known_settings() == set()
