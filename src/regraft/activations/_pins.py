"""Who uses an entry: one locked file per user. The system frees the lock when the process dies, however it dies.

Taking a pin, and deciding that an entry has none and moving it away, both happen under the store's one lock; so an
entry is never taken from under somebody who is just opening it.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from regraft.errors import RegraftError
from regraft.files import Lock

_PATIENCE_S = 60.0
"""How long to wait for the store's lock, in seconds; it is held for milliseconds. Our choice."""


class LocksUnsupported(RegraftError):
    """The file system under the store gives no locks, or somebody holds one for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The lock {path} could not be taken within {_PATIENCE_S:.0f} s; it is normally held for milliseconds.",
            fix="set REGRAFT_CACHE to a folder on a local disk, or stop the process that holds the lock.",
        )


@contextlib.contextmanager
def store_lock(root: Path) -> Iterator[None]:
    """Hold the one lock of the store at `root`.

    Raises:
        LocksUnsupported: it stayed taken for a minute.
    """
    lock = Lock(root / "store.lock")
    give_up_at = time.monotonic() + _PATIENCE_S
    while not lock.acquire():
        if time.monotonic() > give_up_at:
            raise LocksUnsupported(lock.path)
        time.sleep(0.002)
    try:
        yield
    finally:
        lock.release()


class Pin:
    """Says, as long as it is held and its process lives, that somebody uses an entry."""

    def __init__(self, entry: Path) -> None:
        for _ in range(10):
            self._lock = Lock(entry / "pins" / f"{os.getpid()}-{secrets.token_hex(4)}.pin")
            if self._lock.acquire():
                break
        else:
            raise LocksUnsupported(self._lock.path)
        self._owner = os.getpid()

    def release(self) -> None:
        """Let go; harmless when done twice. In a forked child the file, which is the parent's, stays."""
        self._lock.release()
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self._lock.path.unlink(missing_ok=True)


def is_pinned(entry: Path) -> bool:
    """Whether a living process holds a pin on `entry`; where that cannot be found out, it counts as held."""
    return any(_is_held(path) for path in (entry / "pins").glob("*.pin"))


def remove_dead_pins(entry: Path) -> bool:
    """Delete the pins of dead processes; True when none is left. Only for the holder of the store's lock."""
    alive = False
    for path in sorted((entry / "pins").glob("*.pin")):
        if _is_held(path):
            alive = True
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return not alive


def _is_held(path: Path) -> bool:
    lock = Lock(path)
    try:
        if not lock.acquire():
            return True
    except FileNotFoundError:
        return False
    except OSError:
        return True
    lock.release()
    return False
