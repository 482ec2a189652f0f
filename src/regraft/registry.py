"""The folder is the registry: a public file on a shelf is an entry, an underscore file is machinery, a folder in it is
another shelf.

Third parties add entries through entry points in the group `regraft.<shelf>`, for instance
`[project.entry-points."regraft.backbones"]  mynet = "mypackage.mynet"`. Source: big_vision's and timm's layout.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType

from regraft.errors import UnknownName


class Shelf:
    """The entries of one kind, found by listing the package that holds them."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package

    def names(self) -> list[str]:
        """Entry names in alphabetical order. Lists files only; imports no entry."""
        return sorted({*self._own(), *self._foreign()})

    def get(self, name: str) -> ModuleType:
        """The module that defines `name`, imported now and not before.

        Raises:
            UnknownName: no public file and no entry point has this name.
        """
        if name in self._own():
            return import_module(f"{self.package}.{name}")
        foreign = self._foreign()
        if name not in foreign:
            raise UnknownName(self.kind, name, self.names())
        return import_module(foreign[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _own(self) -> set[str]:
        paths = import_module(self.package).__path__
        return {found.name for found in iter_modules(paths) if not (found.ispkg or found.name.startswith("_"))}

    def _foreign(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self.package)}
