"""The folder of a run: what is in it, who works in it, and whether it can be gone on with.

recipe.toml        every default filled in
environment.json   versions, platform, threads
events.jsonl       what happened, one event a line
checkpoints/       of unfinished training; removed at the end
predictions.csv    what the model predicted for each test (or held-out) example
report.json        the numbers; report.md and report.html for people
model/             the bundle
"""

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from regraft.errors import RegraftError, RunError
from regraft.files import Lock, write_json, write_text
from regraft.identity import digest_json
from regraft.recipe import Recipe, write_recipe
from regraft.values import Event, Progress

_FIRST = ("begun.json", "events.jsonl", "recipe.toml")
"""What a run writes before it makes anything."""


class RunFolder:
    """A run folder in use by this process, from `with` to its end."""

    def __init__(self, path: Path, recipe: Recipe, *, resume: bool) -> None:
        """
        Raises:
            RunError: the folder holds another run or a finished one, is unfinished and `resume` is not set, or another
                process works in it.
        """
        self.path = path
        self._lock = Lock(path / ".lock")
        signature = digest_json(json.loads(json.dumps(asdict(recipe), default=str)))
        begun, self._ours = path / "begun.json", not path.exists()
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; a folder for the run is expected.", fix="give another --out.")
        if (path / "report.json").is_file():
            raise RunError(f"{path} holds a finished run.", fix="give another --out, or delete that folder.")
        if path.exists() and not begun.is_file() and any(path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run.", fix="give another --out.")
        if begun.is_file():
            if not resume:
                raise RunError(f"{path} holds an unfinished run.", fix="add --resume to go on, or give another --out.")
            if json.loads(begun.read_text())["recipe"] != signature:
                raise RunError(
                    f"{path} holds an unfinished run with other settings.",
                    fix="resume with the command it was started with, or give another --out.",
                )
        if not self._lock.acquire():
            raise RunError(f"Another process works in {path}.", fix="wait for it, or give another --out.")
        write_json(begun, {"recipe": signature, "time": time.time()})
        self._events = (path / "events.jsonl").open("a", encoding="utf-8")
        self._last = 0.0

    @property
    def checkpoints(self) -> Path:
        """Where training keeps its state."""
        return self.path / "checkpoints"

    def log(self, event: Event) -> None:
        """Add an event to the log; progress inside a phase at most once a second."""
        now = time.time()
        if isinstance(event, Progress) and event.done < event.total and now - self._last < 1.0 and not event.facts:
            return
        self._last = now
        record = {"time": round(now, 3), **event.to_json()}
        self._events.write(json.dumps(record) + "\n")
        self._events.flush()

    def write_recipe(self, recipe: Recipe) -> None:
        """Keep the recipe with its defaults."""
        write_text(self.path / "recipe.toml", write_recipe(recipe))

    def write(self, name: str, value: Any) -> None:
        """Keep a JSON value, or text, under a file name."""
        if isinstance(value, str):
            write_text(self.path / name, value)
        else:
            write_json(self.path / name, value)

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        import shutil

        shutil.rmtree(self.checkpoints, ignore_errors=True)
        (self.path / "begun.json").unlink(missing_ok=True)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        refused = kind is not None and issubclass(kind, RegraftError) and self._nothing_made()
        if refused:
            for name in _FIRST:
                (self.path / name).unlink(missing_ok=True)
        self._lock.release()
        (self.path / ".lock").unlink(missing_ok=True)
        if refused and self._ours:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _nothing_made(self) -> bool:
        """Whether nothing was made yet that a resumed run could use or would overwrite; an empty model is removed."""
        with contextlib.suppress(OSError):
            (self.path / "model").rmdir()
        return {found.name for found in self.path.iterdir()} <= {*_FIRST, ".lock"}
