"""The working folder of the web interface. It contains the complete state; the server stores nothing else.

data/      data sets: folders, archives, tables, and recipes that refer to data elsewhere
queue/     jobs: their commands and states (see `jobs`)
audits/, advice/, sweeps/, runs/, explained/, exports/     results of commands, by name
"""

import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from regraft.data.archives import ENDINGS
from regraft.data.sources.table import SUFFIXES
from regraft.errors import BadRequest
from regraft.files import atomic
from regraft.recipe import Recipe, Source, with_settings, write_recipe

KINDS = ("audits", "advice", "sweeps", "runs", "explained", "exports")
"""Folders with results of commands."""


@dataclass(frozen=True)
class Place:
    """A working folder."""

    root: Path
    """The folder."""

    def child(self, kind: str, name: str) -> Path:
        """Return the entry `name` of a kind; hidden names and names that contain a path are refused.

        Raises:
            BadRequest: there is none.
        """
        path = self.root / kind / name
        if not plain(name) or not path.exists():
            raise BadRequest(f"There is no {name[:80]!r} in {kind}.", fix="go back to the first page.")
        return path

    def names(self, kind: str) -> list[str]:
        """Return the names of a kind, newest first."""
        folder = self.root / kind
        found = [one for one in folder.iterdir() if plain(one.name)] if folder.is_dir() else []
        return [one.name for one in sorted(found, key=lambda one: (-one.stat().st_mtime, one.name))]

    def data(self) -> list[str]:
        """Return the data sets, ordered by name."""
        return sorted(name for name in self.names("data") if self._is_data(self.root / "data" / name))

    def free(self, kind: str, wanted: str, taken: Collection[str] = ()) -> str:
        """Return a name like `wanted` that is neither used there nor among `taken`."""
        start = re.sub(r"[^\w.-]+", "-", wanted).strip(".-_")[:80] or "new"
        name, number = start, 1
        stem, dot, rest = start.partition(".")
        while name in taken or any((self.root / kind / f"{hidden}{name}").exists() for hidden in ("", ".")):
            number += 1
            name = f"{stem}-{number}{dot}{rest}"
        return name

    def choose(self, path: str, settings: dict[str, str]) -> str:
        """Register data elsewhere on this machine, with the settings for reading them; return the name of the recipe.

        Raises:
            BadRequest: there is nothing at that path, or a setting is wrong.
        """
        where = Path(path).expanduser()
        if not path.strip() or not where.exists():
            raise BadRequest(f"{path!r} does not exist.", fix="enter the path of a folder, an archive or a table.")
        recipe = with_settings(Recipe(data=str(where.absolute()), source=Source()), settings)
        name = self.free("data", f"{where.stem.removesuffix('.tar')}.toml")
        with atomic(self.root / "data" / name) as file:
            file.write(write_recipe(recipe).encode())
        return name

    def key(self) -> str:
        """Return the secret of this folder, required to open its pages; created on first use."""
        path = self.root / "queue" / "key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _is_data(self, path: Path) -> bool:
        return path.is_dir() or path.name.lower().endswith((*ENDINGS, *SUFFIXES, ".toml"))


def plain(name: str) -> bool:
    """Whether a name is valid for a file to show: not hidden, no path, no invisible characters."""
    return bool(name) and name.isprintable() and not name.startswith(".") and not set(name) & set("/\\:")


def stem(name: str) -> str:
    """Return the name of a data set without its archive or table extension."""
    ending = next((one for one in (*ENDINGS, *SUFFIXES, ".toml") if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]
