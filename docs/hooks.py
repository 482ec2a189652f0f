"""What the site needs beyond Markdown: folders in the navigation, and links to files that are no pages."""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+)\)")


def on_config(config: Any) -> Any:
    """A navigation entry `name/` becomes the pages of that folder."""
    docs = Path(config["docs_dir"])
    config["nav"] = [
        {title: pages(docs, target) if target.endswith("/") else target}
        for entry in config["nav"]
        for title, target in entry.items()
    ]
    return config


def pages(docs: Path, folder: str) -> list[str]:
    """The pages of a folder in the order in which its README.md links them; those it leaves out are not listed."""
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (docs / folder / "README.md").read_text(encoding="utf-8"))
    return [f"{folder}{name}" for name in dict.fromkeys(["README.md", *linked])]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A link that leaves the documentation for a file of the repository is shown as that file's name.

    Raises:
        FileNotFoundError: there is no such file.
    """
    docs = Path(config["docs_dir"]).resolve()
    here = (docs / page.file.src_uri).parent

    def shown(found: re.Match[str]) -> str:
        target = (here / found[2]).resolve()
        if target.is_relative_to(docs):
            return found[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links {found[2]}, which is not there")
        name = target.relative_to(docs.parent).as_posix()
        return f"`{name}`" if found[1].strip("`") in (name, target.name) else f"{found[1]} (`{name}`)"

    return LINK.sub(shown, markdown)
