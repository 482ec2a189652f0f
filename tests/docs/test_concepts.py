"""Figures in the concepts guide are those of the pages it links, or of the commands it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts"
NUMBER = r"[+-]?\d\.\d{3}"
FIGURES = re.compile(
    rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"  # with an interval
    rf"|{NUMBER} times"
    r"|\d{1,3}(?:,\d{3})+(?:\.\d)?M?"  # with a separator of thousands
    rf"|(?<![\d.,\[]){NUMBER}(?! ?\[|\d)"  # alone
)
PAGES = sorted(CONCEPTS.glob("*.md"))


def plain(text: str) -> str:
    """The text with line breaks as spaces."""
    return re.sub(r"\s+", " ", text)


def printed(words: list[str], env: dict[str, str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "regraft", *words], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return plain(done.stdout)


def sources(text: str, folder: Path, env: dict[str, str]) -> str:
    """The pages of results and the README that are linked, and the output of `regraft describe` where it is named."""
    linked = set(re.findall(r"\]\(((?:\.\./results/\w+|\.\./\.\./README)\.md)", text))
    named = set(re.findall(r"`regraft describe ([\w: ]+)`", text))
    described = [printed(["describe", *names.split()], env) for names in sorted(named)]
    return " ".join([plain((folder / name).read_text(encoding="utf-8")) for name in sorted(linked)] + described)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_figure_of_a_page_stands_where_the_page_says(page: Path, child_env: dict[str, str]) -> None:
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    known = sources(text, page.parent, child_env)
    figures = FIGURES.findall(plain(text))
    assert [figure for figure in figures if figure not in known] == []


def test_the_guide_quotes_figures_at_all() -> None:
    counts = {page.stem: len(FIGURES.findall(plain(page.read_text(encoding="utf-8")))) for page in PAGES}
    assert sum(counts.values()) > 80
    assert all(counts[name] for name in ("googlenet", "inception", "transfer", "freeze-or-fine-tune", "judging"))
