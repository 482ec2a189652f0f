"""What the site adds to Markdown: folders in the navigation, and links to files that are no pages."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_page(hooks: Any, docs: Path, text: str) -> str:
    """A page `results/one.md` with this text, as the site has it."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="results/one.md"))
    return str(hooks.on_page_markdown(text, page, {"docs_dir": str(docs)}, None))


def test_a_folder_in_the_navigation_becomes_its_pages_in_the_order_of_its_readme(hooks: Any, tmp_path: Path) -> None:
    (tmp_path / "verbs").mkdir()
    (tmp_path / "verbs" / "README.md").write_text("[b](b.md), [a](a.md), [b](b.md), [up](../index.md)")
    config = {"docs_dir": str(tmp_path), "nav": [{"First": "index.md"}, {"Verbs": "verbs/"}]}
    assert hooks.on_config(config)["nav"] == [
        {"First": "index.md"},
        {"Verbs": ["verbs/README.md", "verbs/b.md", "verbs/a.md"]},
    ]


def test_a_link_out_of_the_documentation_is_shown_as_the_name_of_the_file(hooks: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "Makefile").touch()
    assert on_page(hooks, tmp_path / "docs", "see [how](../../Makefile)") == "see how (`Makefile`)"
    assert on_page(hooks, tmp_path / "docs", "see [Makefile](../../Makefile)") == "see `Makefile`"
    assert on_page(hooks, tmp_path / "docs", "see [it](../two.md)") == "see [it](../two.md)"


def test_a_link_out_of_the_documentation_to_nothing_stops_the_build(hooks: Any, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"results/one\.md links \.\./\.\./gone"):
        on_page(hooks, tmp_path / "docs", "see [it](../../gone.py)")
