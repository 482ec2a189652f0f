"""What the store keeps, what it lets go of, and what it says when it cannot."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.activations import disk
from regraft.activations import store as store_module
from regraft.activations.disk import StoreNotWritable
from regraft.activations.slots import RowKey, Slot
from regraft.activations.store import SlotsDiffer, Store
from regraft.errors import OutOfSpace

SLOT = Slot(name="x", shape=(256,), dtype="float32")
ROW_BYTES = 1024


def keys(count: int) -> list[RowKey]:
    return [RowKey(f"{i:040x}", "plain") for i in range(count)]


def key(cut: str) -> dict[str, Any]:
    return {"backbone": "toy", "cut": cut}


def add(store: Store, cut: str, rows: int, used: float | None = None) -> Path:
    """An entry of `rows` rows of 1 KiB, last used `used` seconds since 1970; its folder."""
    with store.open(key(cut), [SLOT]) as entry:
        entry.append(keys(rows), {"x": np.full((rows, 256), rows, np.float32)})
    if used is not None:
        os.utime(entry.folder / "used", (used, used))
    return entry.folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", limit_bytes=10**9)


def test_the_same_key_gives_the_same_entry_and_any_change_another(store: Store) -> None:
    full: dict[str, Any] = {"cut": "b", "digest": "12", "inputs": {"size": 64}, "dtype": "float16", "backend": "t"}
    changes: list[dict[str, Any]] = [
        {"cut": "c"}, {"digest": "13"}, {"inputs": {"size": 65}}, {"dtype": "float32"}, {"backend": "o"}, {"more": 1},
    ]  # fmt: skip
    folders = []
    for one in [full, dict(reversed(full.items())), *({**full, **change} for change in changes)]:
        with store.open(one, [SLOT]) as entry:
            folders.append(entry.folder)
    assert folders[0] == folders[1]
    assert len(set(folders[1:])) == len(changes) + 1


def test_slots_other_than_the_stored_ones_are_refused(store: Store) -> None:
    add(store, "b", 3)
    with pytest.raises(SlotsDiffer, match=r"float32.*float16"):
        store.open(key("b"), [Slot(name="x", shape=(256,), dtype="float16")])


def test_an_entry_of_an_older_format_is_not_read_and_is_evicted_in_its_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        old.setattr(store_module, "FORMAT", 1)
        before = add(store, "b", 3, used=1000.0)
    with store.open(key("b"), [SLOT]) as entry:
        assert entry.folder != before
        assert entry.missing(keys(3)).tolist() == [0, 1, 2]
        assert store.evict(1) > 0
    assert not before.exists()


def test_a_damaged_description_is_written_anew_and_costs_no_rows(store: Store) -> None:
    folder = add(store, "b", 3)
    (folder / "key.json").write_bytes(b'{"key": ')
    assert store.entries()[0].key == {}
    with store.open(key("b"), [SLOT]) as entry:
        assert len(entry) == 3
    assert store.entries()[0].key == key("b")


def test_entries_tell_what_people_ask_for(store: Store) -> None:
    before = time.time()
    add(store, "a", 3, used=1000.0)
    add(store, "b", 5)
    with store.open(key("a"), [SLOT]):
        os.utime(store.entries()[0].path / "used", (2000.0, 2000.0))
        found = {entry.key["cut"]: entry for entry in store.entries()}
    assert (found["a"].rows, found["b"].rows) == (3, 5)
    assert (found["a"].pinned, found["b"].pinned) == (True, False)
    assert found["a"].bytes > 3 * ROW_BYTES
    assert found["b"].created >= before - 1
    assert found["a"].bytes + found["b"].bytes == store.size_bytes()


def test_a_store_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "none", limit_bytes=10)
    assert (store.entries(), store.size_bytes(), store.evict(5)) == ([], 0, 0)
    assert store.clear().freed_bytes == 0
    assert not (tmp_path / "none").exists()


def test_opening_counts_as_use(store: Store) -> None:
    add(store, "a", 1, used=1000.0)
    add(store, "b", 1, used=2000.0)
    with store.open(key("a"), [SLOT]):
        pass
    assert [entry.key["cut"] for entry in store.entries()] == ["a", "b"]


def test_the_least_recently_used_go_first_and_no_more_than_needed(store: Store) -> None:
    folders = {cut: add(store, cut, 10, used) for cut, used in [("a", 3000.0), ("b", 1000.0), ("c", 2000.0)]}
    freed = store.evict(11 * ROW_BYTES)
    assert freed >= 11 * ROW_BYTES
    assert [cut for cut, folder in folders.items() if folder.exists()] == ["a"]
    assert store.evict(1) > 10 * ROW_BYTES
    assert store.evict(1) == 0
    assert not any((store.root / "trash").iterdir())


def test_an_entry_in_use_is_never_evicted_nor_cleared(store: Store) -> None:
    folder = add(store, "a", 10, used=1000.0)
    with store.open(key("a"), [SLOT]) as first:
        with store.open(key("a"), [SLOT]):
            assert store.evict(1) == 0
        assert store.evict(1) == 0, "one of two users is left"
        cleared = store.clear()
        assert ([entry.path for entry in cleared.kept], cleared.removed) == ([folder], ())
        assert first.rows(keys(10)).gather(np.arange(10))["x"].max() == 10
    assert store.evict(1) > 10 * ROW_BYTES
    assert not folder.exists()


def test_clear_takes_what_the_predicate_names(store: Store) -> None:
    add(store, "a", 10)
    kept = add(store, "b", 10)
    cleared = store.clear(lambda entry: entry.key["cut"] == "a")
    assert [entry.key["cut"] for entry in cleared.removed] == ["a"]
    assert cleared.freed_bytes > 10 * ROW_BYTES
    assert [entry.path for entry in store.entries()] == [kept]


def test_clear_of_everything_leaves_nothing(store: Store) -> None:
    add(store, "a", 10)
    store.memo.put("fact", 1)
    store.memo.file("prefix", ".onnx").parent.mkdir()
    store.memo.file("prefix", ".onnx").write_bytes(b"1234")
    size = store.size_bytes()
    assert store.clear().freed_bytes == size
    assert store.size_bytes() == 0


def test_writing_past_the_limit_evicts_what_nobody_uses(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=30 * ROW_BYTES)
    old, newer = add(store, "old", 10, used=1000.0), add(store, "newer", 10, used=2000.0)
    add(store, "b", 12)
    assert (old.exists(), newer.exists()) == (False, True)
    assert store.size_bytes() <= store.limit_bytes


def test_a_limit_that_was_lowered_is_kept_at_the_next_write(tmp_path: Path) -> None:
    for i in range(5):
        add(Store(tmp_path, limit_bytes=10**9), str(i), 10, used=1000.0 + i)
    store = Store(tmp_path, limit_bytes=30 * ROW_BYTES)
    add(store, "b", 10)
    assert store.size_bytes() <= store.limit_bytes


def test_what_does_not_fit_is_refused_and_missing_and_the_rest_stays_whole(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=20 * ROW_BYTES)
    add(store, "b", 10)
    with store.open(key("b"), [SLOT]) as entry:
        entry.append(keys(30)[10:], {"x": np.zeros((20, 256), np.float32)})
        with pytest.raises(OutOfSpace, match=r"20\.\d kB more do not fit"):
            entry.flush()
        assert entry.missing(keys(30)).tolist() == list(range(10, 30))
        assert entry.rows(keys(10)).gather(np.arange(10))["x"].min() == 10


class FullDisk:
    """Lets so many bytes through, then says what a full disk says."""

    def __init__(self, write: Callable[..., Any], room: int) -> None:
        self.write, self.room = write, room

    def __call__(self, handle: int) -> None:
        if os.fstat(handle).st_size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write(handle)


def test_a_full_disk_leaves_the_entry_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add(store, "b", 10)
    with store.open(key("b"), [SLOT]) as entry:
        entry.append(keys(30)[10:], {"x": np.zeros((20, 256), np.float32)})
        monkeypatch.setattr(os, "fsync", FullDisk(os.fsync, room=10 * ROW_BYTES))
        with pytest.raises(OutOfSpace, match="disk is full"):
            entry.flush()
        monkeypatch.undo()
        assert entry.missing(keys(30)).tolist() == list(range(10, 30))
        assert len(list((folder / "shards").iterdir())) == 1, "no partial file is left"
        entry.append(keys(30)[10:], {"x": np.zeros((20, 256), np.float32)})
    with store.open(key("b"), [SLOT]) as entry:
        assert len(entry) == 30


def fail_with_rows_waiting(store: Store, rows: int) -> None:
    with store.open(key("b"), [SLOT]) as entry:
        entry.append(keys(rows), {"x": np.zeros((rows, 256), np.float32)})
        raise ZeroDivisionError


def test_an_error_on_the_way_is_not_hidden_by_a_full_store(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=10 * ROW_BYTES)
    with pytest.raises(ZeroDivisionError):
        fail_with_rows_waiting(store, 30)


def test_rows_that_waited_are_kept_when_the_run_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_with_rows_waiting(store, 3)
    with store.open(key("b"), [SLOT]) as entry:
        assert len(entry) == 3


def test_what_is_available_counts_what_can_be_evicted_but_not_what_is_in_use(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=40 * ROW_BYTES)
    add(store, "a", 10)
    add(store, "b", 10)
    idle = {entry.key["cut"]: entry.bytes for entry in store.entries()}
    with store.open(key("b"), [SLOT]):
        assert store.available() == store.limit_bytes - idle["b"]
    assert store.available() == store.limit_bytes


def test_what_is_available_leaves_some_of_the_disk_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "disk_of", lambda _: (200 * 10**9, 3 * 10**9))
    assert Store(tmp_path, limit_bytes=10**12).available() == 2 * 10**9


def test_a_nearly_full_disk_is_made_room_on_before_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = add(store, "old", 10, used=1000.0)
    monkeypatch.setattr(disk, "disk_of", lambda _: (200 * 10**9, 10**9))
    store.make_room(5 * ROW_BYTES)
    assert not old.exists()
    with pytest.raises(OutOfSpace, match="do not fit"):
        store.make_room(5 * ROW_BYTES)


@pytest.fixture
def read_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with one entry of three rows whose disk is mounted read-only."""
    add(store, "b", 3)

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for name in ("mkdir", "touch", "unlink", "rename"):
        monkeypatch.setattr(Path, name, refuse)
    opened = Path.open

    def reading_only(path: Path, mode: str = "r", *rest: object, **named: object) -> object:
        return refuse(path) if set(mode) & set("wxa+") else opened(path, mode, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", reading_only)
    return store


def test_a_read_only_store_is_read_from(read_only: Store) -> None:
    with read_only.open(key("b"), [SLOT]) as entry:
        assert entry.missing(keys(4)).tolist() == [3]
        assert entry.rows(keys(3)).gather(np.arange(3))["x"].max() == 3


def test_a_read_only_store_says_so_when_written(read_only: Store) -> None:
    with read_only.open(key("b"), [SLOT]) as entry, pytest.raises(StoreNotWritable, match="Read-only") as raised:
        entry.append(keys(4)[3:], {"x": np.zeros((1, 256), np.float32)})
    assert "REGRAFT_CACHE" in raised.value.fix
    with pytest.raises(StoreNotWritable, match="activation store cannot write to"):
        read_only.open(key("new"), [SLOT])


def test_a_file_where_the_store_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreNotWritable, match=str(tmp_path / "file").replace("\\", "\\\\")):
        Store(tmp_path / "file", limit_bytes=10**9).open(key("b"), [SLOT])


def test_other_errors_of_the_system_pass_unchanged() -> None:
    with pytest.raises(OSError, match="odd") as raised, disk.writing(Path("x")):
        raise OSError(errno.EIO, "odd")
    assert raised.value.errno == errno.EIO


def test_without_a_limit_the_store_takes_a_share_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGRAFT_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(disk, "disk_of", lambda _: (50 * 10**9, 10**9))
    assert Store(tmp_path).limit_bytes == 10 * 10**9
    monkeypatch.setattr(disk, "disk_of", lambda _: (10**13, 10**12))
    assert Store(tmp_path).limit_bytes == 20 * 10**9
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "1.5 GiB")
    assert Store(tmp_path).limit_bytes == 3 * 2**29
