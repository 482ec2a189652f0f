"""Several processes in one store, and processes that die in it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.activations import disk
from regraft.activations.slots import RowKey, Slot
from regraft.activations.store import Store

SLOT = Slot(name="x", shape=(64,), dtype="float32")
KEY = {"cut": "b"}

COMMON = """
import os, sys, time
from pathlib import Path
import numpy as np
from regraft.activations.slots import RowKey, Slot
from regraft.activations.store import Store

root, first, stop, mark = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
keys = [RowKey(f"{i:040x}", "plain") for i in range(stop)]
store = Store(root, limit_bytes=10**9)
entry = store.open({"cut": "b"}, [Slot(name="x", shape=(64,), dtype="float32")])

def add(i):
    entry.append(keys[i : i + 1], {"x": np.full((1, 64), i, np.float32)})
"""

WRITER = """
for i in range(first, stop):
    add(i)
    if i % 5 == 0:
        entry.flush()
entry.close()
"""

KILLED_MID_WRITE = """
add(first)
entry.flush()
for i in range(first + 1, stop):
    add(i)

def fsync(handle):
    mark.touch()
    time.sleep(60)

os.fsync = fsync
entry.flush()
"""

HOLDER = """
mark.touch()
time.sleep(60)
"""

Start = Callable[..., subprocess.Popen[bytes]]


def keys(count: int) -> list[RowKey]:
    return [RowKey(f"{i:040x}", "plain") for i in range(count)]


@pytest.fixture
def start(tmp_path: Path, child_env: dict[str, str]) -> Iterator[Start]:
    """Starts a script in a process of its own, on the rows from `first` to `stop`; all are killed at the end."""
    running = []

    def start(script: str, first: int = 0, stop: int = 20) -> subprocess.Popen[bytes]:
        arguments = [str(tmp_path / "store"), str(first), str(stop), str(tmp_path / "mark")]
        running.append(subprocess.Popen([sys.executable, "-c", COMMON + script, *arguments], env=child_env))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", limit_bytes=10**9)


def wait_for(path: Path) -> None:
    give_up_at = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < give_up_at, "the process did not get so far"
        time.sleep(0.01)


def test_processes_that_write_the_same_rows_at_once_do_no_harm(store: Store, start: Start) -> None:
    writers = [start(WRITER, 0, 60), start(WRITER, 30, 90)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with store.open(KEY, [SLOT]) as entry:
        assert entry.missing(keys(90)).tolist() == []
        assert entry.take_notices() == []
        found = entry.rows(keys(90)).gather(np.arange(90))["x"]
    np.testing.assert_array_equal(found, np.repeat(np.arange(90, dtype=np.float32), 64).reshape(90, 64))


def test_what_another_process_wrote_is_seen_after_a_refresh(store: Store, start: Start) -> None:
    with store.open(KEY, [SLOT]) as entry:
        entry.append(keys(5), {"x": np.full((5, 64), 7, np.float32)})
        entry.flush()
        assert start(WRITER, 0, 20).wait(60) == 0
        assert entry.missing(keys(20)).tolist() == list(range(5, 20))
        entry.refresh()
        assert entry.missing(keys(20)).tolist() == []
        found = entry.rows(keys(20)).gather(np.arange(20))["x"][:, 0]
    assert found.tolist() == [7.0] * 5 + list(range(5, 20)), "the first to be seen wins"


def test_a_writer_killed_mid_write_leaves_nothing_that_is_read_and_the_rest_goes_on(
    store: Store, start: Start, tmp_path: Path
) -> None:
    writer = start(KILLED_MID_WRITE)
    wait_for(tmp_path / "mark")
    (folder,) = (store.root / "entries").iterdir()
    partial = [path for path in (folder / "shards").iterdir() if path.suffix == ".part"]
    assert len(partial) == 1
    with store.open(KEY, [SLOT]) as entry:
        assert partial[0].exists(), "its writer lives"
        assert entry.missing(keys(20)).tolist() == list(range(1, 20))
    writer.kill()
    writer.wait()
    with store.open(KEY, [SLOT]) as entry:
        assert not partial[0].exists()
        assert entry.missing(keys(20)).tolist() == list(range(1, 20))
        entry.append(keys(20)[1:], {"x": np.ones((19, 64), np.float32)})
    with store.open(KEY, [SLOT]) as entry:
        assert len(entry) == 20
        assert entry.take_notices() == []


def test_an_entry_is_pinned_by_another_process_until_that_dies(store: Store, start: Start, tmp_path: Path) -> None:
    with store.open(KEY, [SLOT]) as entry:
        entry.append(keys(5), {"x": np.zeros((5, 64), np.float32)})
    holder = start(HOLDER)
    wait_for(tmp_path / "mark")
    assert [found.pinned for found in store.entries()] == [True]
    assert store.evict(1) == 0
    holder.kill()
    holder.wait()
    assert list((entry.folder / "pins").iterdir()), "the dead process could not take its pin away"
    assert [found.pinned for found in store.entries()] == [False]
    assert store.evict(1) > 0
    assert store.entries() == []


def test_pins_of_dead_processes_are_cleared_away(store: Store, start: Start, tmp_path: Path) -> None:
    holder = start(HOLDER)
    wait_for(tmp_path / "mark")
    holder.kill()
    holder.wait()
    with store.open(KEY, [SLOT]) as entry:
        assert len(list((entry.folder / "pins").iterdir())) == 1
    assert not list((entry.folder / "pins").iterdir())


def test_a_lock_that_stays_taken_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PATIENCE_S", 0.05)
    with disk.store_lock(store.root), pytest.raises(disk.LocksUnsupported, match=r"store\.lock"):
        store.open(KEY, [SLOT])


READER = """
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))

wide = Slot(name="x", shape=(4096,), dtype="float32")
with Store(root, limit_bytes=10**9, shard_bytes=1 << 20).open({"cut": "wide"}, [wide]) as entry:
    keys = [RowKey(f"{i:040x}", "plain") for i in range(4096)]
    for i in range(0, 4096, 64):
        entry.append(keys[i : i + 64], {"x": np.full((64, 4096), i, np.float32)})
with store.open({"cut": "wide"}, [wide]) as entry:
    rows, most, files, before = entry.rows(keys), 0, 0, resident()
    for batch in np.split(np.random.default_rng(0).permutation(4096), 256):
        assert (rows.gather(batch)["x"][:, 5] == batch // 64 * 64).all()
        most = max(most, resident() - before)
        files = max(files, len(os.listdir("/proc/self/fd")))
print(most, files, file=mark.open("w"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
def test_reading_holds_little_in_memory_and_few_files_open(start: Start, tmp_path: Path) -> None:
    assert start(READER).wait(60) == 0
    held_bytes, files = map(int, (tmp_path / "mark").read_bytes().split())
    assert held_bytes < 16 << 20, "64 MiB were read"
    assert files < 90
