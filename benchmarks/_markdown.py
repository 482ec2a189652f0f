"""Pieces of a page in Markdown."""

import textwrap
from typing import Any


def line(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> list[str]:
    """The first two lines of one."""
    return [line(*cells), line(*("---" for _ in cells))]


def told(text: str, **facts: Any) -> str:
    """Paragraphs with their facts filled in, broken into lines anew."""
    paragraphs = text.format(**facts).split("\n\n")
    return "\n\n".join(textwrap.fill(one, 118, break_on_hyphens=False, break_long_words=False) for one in paragraphs)
