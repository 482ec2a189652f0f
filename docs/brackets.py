"""Docstrings are read as Markdown; brackets that follow brackets (`NAME[:VARIANT][@WEIGHTS]`) are no link there."""

import re
from typing import Any

import griffe


def unlinked(text: str) -> str:
    """The text with such brackets escaped, outside code."""
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(piece if at % 2 else piece.replace("][", "]\\[") for at, piece in enumerate(pieces))


class Brackets(griffe.Extension):
    """Applied to every object that is documented."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Escape the docstring of a function, class or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = unlinked(obj.docstring.value)
