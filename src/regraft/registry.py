"""Registries given by folders: a public file or folder that defines `ENTRY` is an entry, registered under its own name.

A provider, one file with several entries (torchvision's networks, a family of metrics), lists their names in a literal
tuple `NAMES` and defines them in `ENTRIES`. Files that define neither hold supporting code; folders that do not are
registries of their own. Third parties add entries through entry points in the group `regraft.<shelf>`, for instance
`[project.entry-points."regraft.backbones"]  mynet = "mypackage.mynet"`; the module named there defines `ENTRY`. Source:
the layout of big_vision and timm.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Generic, TypeVar

from regraft.errors import UnknownName

T = TypeVar("T")

_ENTRY = re.compile(r"^ENTRY\b", re.MULTILINE)
_NAMES = re.compile(r"^NAMES\b[^=\n]*=\s*(\(.*?\))$", re.MULTILINE | re.DOTALL)


class Shelf(Generic[T]):
    """Registry of one kind of entry, found by listing the package that contains them."""

    def __init__(self, kind: str, package: str) -> None:
        """`kind` is the name used in messages, such as `backbone`; `package` is the package that contains the files."""
        self.kind = kind
        self.package = package

    def names(self) -> list[str]:
        """Return the entry names in alphabetical order. Reads the source text of files and imports no entry."""
        return sorted({*self._own, *self._foreign()})

    def get(self, name: str) -> T:
        """Return the entry called `name`; its module is imported on this first use.

        Raises:
            UnknownName: no public file and no entry point has this name.
        """
        module = import_module(self.module(name))
        return module.ENTRIES[name] if hasattr(module, "ENTRIES") else module.ENTRY

    def module(self, name: str) -> str:
        """Return the full name of the module that defines the entry, without importing it.

        Raises:
            UnknownName: no public file and no entry point has this name.
        """
        # Built-in entries first: looking up entry points reads the metadata of every distribution, which takes
        # milliseconds.
        found = self._own.get(name) or self._foreign().get(name)
        if found is None:
            raise UnknownName(self.kind, name, self.names())
        return found

    def literal(self, name: str, called: str) -> tuple[str, ...]:
        """Return the literal tuple named `called` in the file of a built-in entry, without importing it; empty if there
        is none. Lets callers select a suitable entry without loading all of them."""
        text = self._texts.get(name, "") if self._own else ""
        found = re.search(rf"^{called}\b[^=\n]*=\s*(\([^)]*\))", text, re.MULTILINE)
        return ast.literal_eval(found[1]) if found else ()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    @cached_property
    def _own(self) -> dict[str, str]:
        """Return entry name -> module, for the files of the package."""
        found: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        for folder in import_module(self.package).__path__:
            for one in iter_modules([folder]):
                if one.name.startswith("_"):
                    continue
                file = f"{one.name}/__init__.py" if one.ispkg else f"{one.name}.py"
                text = (Path(folder) / file).read_text(encoding="utf-8")
                names = _NAMES.search(text)
                provided = ast.literal_eval(names[1]) if names else (one.name,) if _ENTRY.search(text) else ()
                found |= dict.fromkeys(provided, f"{self.package}.{one.name}")
                self._texts |= dict.fromkeys(provided, text)
        return found

    def _foreign(self) -> dict[str, str]:
        return _installed(tuple(sys.path)).get(self.package, {})


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return group -> name -> module of all entry points; distributions are read once, as long as `path` does not
    change."""
    found = entry_points()
    return {group: {point.name: point.value for point in found.select(group=group)} for group in found.groups}
