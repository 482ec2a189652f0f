"""The folder that a page works in. What is in it is all there is to know: a server holds nothing else.

data/      data sets: folders, archives, tables, and recipes that name data elsewhere
queue/     jobs: what was asked for, and how it went (see `jobs`)
audits/, advice/, sweeps/, runs/, explained/, exports/     what verbs made, by name
"""

import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from regraft.data.archives import ENDINGS
from regraft.errors import BadRequest
from regraft.files import atomic
from regraft.recipe import Recipe, Source, with_settings, write_recipe

KINDS = ("audits", "advice", "sweeps", "runs", "explained", "exports")
"""Folders with what verbs made."""
_TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".toml")


@dataclass(frozen=True)
class Place:
    """A folder that a page works in."""

    root: Path
    """The folder."""

    def child(self, kind: str, name: str) -> Path:
        """What is called `name` among these; nothing outside of them, hidden or with a path in its name.

        Raises:
            BadRequest: there is none.
        """
        path = self.root / kind / name
        if not plain(name) or not path.exists():
            raise BadRequest(f"There is no {name[:80]!r} in {kind}.", fix="go back to the first page.")
        return path

    def names(self, kind: str) -> list[str]:
        """The names of these, the newest first."""
        folder = self.root / kind
        found = [one for one in folder.iterdir() if plain(one.name)] if folder.is_dir() else []
        return [one.name for one in sorted(found, key=lambda one: (-one.stat().st_mtime, one.name))]

    def data(self) -> list[str]:
        """The data sets, in the order of their names."""
        return sorted(name for name in self.names("data") if self._is_data(self.root / "data" / name))

    def free(self, kind: str, wanted: str, taken: Collection[str] = ()) -> str:
        """A name like `wanted` that nothing there has, and none of `taken`."""
        start = re.sub(r"[^\w.-]+", "-", wanted).strip(".-_")[:80] or "new"
        name, number = start, 1
        stem, dot, rest = start.partition(".")
        while name in taken or any((self.root / kind / f"{hidden}{name}").exists() for hidden in ("", ".")):
            number += 1
            name = f"{stem}-{number}{dot}{rest}"
        return name

    def choose(self, path: str, settings: dict[str, str]) -> str:
        """Note data that lie elsewhere on this machine, with how they are read; the name of the recipe.

        Raises:
            BadRequest: there is nothing at that path, or a setting is wrong.
        """
        where = Path(path).expanduser()
        if not path.strip() or not where.exists():
            raise BadRequest(f"There is nothing at {path!r}.", fix="give the path of a folder, an archive or a table.")
        recipe = with_settings(Recipe(data=str(where.absolute()), source=Source()), settings)
        name = self.free("data", f"{where.stem.removesuffix('.tar')}.toml")
        with atomic(self.root / "data" / name) as file:
            file.write(write_recipe(recipe).encode())
        return name

    def key(self) -> str:
        """The secret of this folder, which whoever opens its pages has to know; made when it is first asked for."""
        path = self.root / "queue" / "key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _is_data(self, path: Path) -> bool:
        return path.is_dir() or path.name.lower().endswith((*ENDINGS, *_TABLES))


def plain(name: str) -> bool:
    """Whether it may be the name of a file that is shown: not hidden, no path, nothing that cannot be seen."""
    return bool(name) and name.isprintable() and not name.startswith(".") and not set(name) & set("/\\:")


def stem(name: str) -> str:
    """The name of data without what says how they are packed."""
    ending = next((one for one in (*ENDINGS, *_TABLES) if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)]
