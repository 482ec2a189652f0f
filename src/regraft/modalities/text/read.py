"""Contents as text: files in common encodings, table cells, and user input."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.contracts.example import Content, Contents, File, Inline
from regraft.errors import Undecodable
from regraft.files import decoded_text, unreadable


def text_of(content: Content) -> str:
    """Return the text of one content.

    Raises:
        Undecodable: the file cannot be read, its encoding cannot be determined, or the value is not text.
    """
    return text_and_encoding(content)[0]


def text_and_encoding(content: Content) -> tuple[str, str]:
    """Return the text of one content, and its encoding unless that is UTF-8.

    Raises:
        Undecodable: as `text_of`.
    """
    if isinstance(content, File):
        return decoded_file(content.path)
    if not isinstance(content.value, str):
        raise Undecodable(f"it is {content.value!r:.40}, not text", str(content))
    return content.value, ""


def decoded_file(path: Path) -> tuple[str, str]:
    """Return the text of a file, and its encoding unless that is UTF-8.

    Raises:
        Undecodable: the file cannot be read, or its encoding cannot be determined.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Undecodable(unreadable(path, error), str(path)) from error
    found = decoded_text(data)
    if found is None:
        raise Undecodable("its encoding cannot be determined; save it as UTF-8", str(path))
    return found


def contents_of(given: Any) -> Contents:
    """Convert user input to an example's contents: a text, the `Path` of a text file, or a tuple of two texts.

    Raises:
        Undecodable: it is none of these.
    """
    if isinstance(given, Mapping):
        return {str(name): one if isinstance(one, File | Inline) else Inline(one) for name, one in given.items()}
    several = given if isinstance(given, tuple) else (given,)
    if not all(isinstance(one, str | Path) for one in several) or not 1 <= len(several) <= 2:
        raise Undecodable(f"it is {given!r:.40}; expected a text, a path or a tuple of two texts")
    parts = [File(one) if isinstance(one, Path) else Inline(one) for one in several]
    return dict(zip(("text", "other"), parts, strict=False))
