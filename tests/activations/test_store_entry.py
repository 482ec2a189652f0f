"""Rows come back as they went in, whatever their slots and their order; what is damaged is never read."""

import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from regraft.activations import entry as entry_module
from regraft.activations.entry import Entry
from regraft.activations.shards import DamagedShard
from regraft.activations.slots import RowKey, Slot, row_digests
from regraft.activations.store import Store

KEY = {"backbone": "toy", "cut": "b", "dtype": "float32"}
HIDDEN = Slot(name="hidden", shape=(3, 2), dtype="float32")
MASK = Slot(name="mask", shape=(4,), dtype="bool")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", limit_bytes=10**9)


def keys(count: int, view: str = "plain") -> list[RowKey]:
    return [RowKey(f"{i:040x}", view) for i in range(count)]


def hidden(count: int, offset: int = 0) -> dict[str, np.ndarray]:
    return {"hidden": np.arange(offset * 6, (offset + count) * 6, dtype=np.float32).reshape(count, 3, 2)}


def fill(entry: Entry, count: int, per_shard: int) -> None:
    """`count` rows, row i holding the numbers from 6 i on, in shards of `per_shard`."""
    wanted = keys(count)
    for first in range(0, count, per_shard):
        entry.append(wanted[first : first + per_shard], hidden(len(wanted[first : first + per_shard]), first))
        entry.flush()


def shards(entry: Entry) -> list[Path]:
    return sorted((entry.folder / "shards").iterdir())


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("float16", (8, 7, 7)), ("float32", (5,)), ("float64", ()), ("bool", (3,)), ("int64", (2, 2)), ("uint8", (1,))],
)
def test_rows_of_any_dtype_and_shape_come_back_bit_for_bit(store: Store, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2**15, size=(40, *shape)).astype(dtype)
    with store.open(KEY, [Slot(name="x", shape=shape, dtype=dtype)]) as entry:
        entry.append(keys(25), {"x": values[:25]})
        entry.flush()
        entry.append(keys(40)[25:], {"x": values[25:]})
    with store.open(KEY, [Slot(name="x", shape=shape, dtype=dtype)]) as entry:
        found = entry.rows(keys(40)).gather(np.arange(40))["x"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)


def test_a_shard_is_a_safetensors_file(store: Store) -> None:
    """Read by the library that defines the format."""
    masks = np.random.default_rng(0).random((3, 4)) > 0.5
    with store.open(KEY, [MASK, HIDDEN]) as entry:
        entry.append(keys(3), {**hidden(3), "mask": masks})
        entry.flush()
        found = load_file(shards(entry)[0])
    np.testing.assert_array_equal(found["hidden"], hidden(3)["hidden"])
    np.testing.assert_array_equal(found["mask"], masks)
    assert [row.tobytes() for row in found["row digests"]] == row_digests(keys(3)).tolist()


@pytest.mark.parametrize("shape", [(None,), (None, 3), (2, None), (2, None, 3)])
def test_rows_of_different_lengths_are_kept_without_padding_and_come_back_padded(
    store: Store, shape: tuple[int | None, ...]
) -> None:
    random = np.random.default_rng(0)
    lengths, longest = random.integers(0, 9, 30), 8
    lengths[0] = longest
    values = random.standard_normal((30, *(longest if size is None else size for size in shape))).astype(np.float32)
    ragged = shape.index(None) + 1
    np.moveaxis(values, ragged, 1)[np.arange(longest)[None] >= lengths[:, None]] = 0
    slots = [MASK, Slot(name="x", shape=shape, dtype="float32")]
    masks = random.random((30, 4)) > 0.5
    with store.open(KEY, slots) as entry:
        for first in (0, 10):
            part = slice(first, first + 20)
            trimmed = np.moveaxis(np.moveaxis(values[part], ragged, 1)[:, : lengths[part].max()], 1, ragged)
            entry.append(keys(30)[part], {"x": trimmed, "mask": masks[part]}, lengths[part])
            entry.flush()
        data = load_file(shards(entry)[0])
        assert data["row lengths"].tolist() == lengths[:20].tolist()
        assert data["x"].shape[0] == lengths[:20].sum()
    with store.open(KEY, slots) as entry:
        rows = entry.rows(keys(30))
        for order in (random.permutation(30), np.array([25, 3, 25]), np.arange(30)):
            found, most = rows.gather(order), int(lengths[order].max())
            np.testing.assert_array_equal(found["x"], np.take(values[order], np.arange(most), axis=ragged))
            np.testing.assert_array_equal(found["mask"], masks[order])
            assert rows.lengths(order).tolist() == lengths[order].tolist()  # type: ignore[union-attr]
        with pytest.raises(ValueError, match="slots expect"):
            entry.append(keys(31)[30:], {"x": values[:1], "mask": masks[:1]}, np.array([3]))


def test_values_that_are_no_numbers_are_kept_as_they_are(store: Store) -> None:
    values = np.array([[np.nan, np.inf], [-np.inf, -0.0]], dtype=np.float16)
    with store.open(KEY, [Slot(name="x", shape=(2,), dtype="float16")]) as entry:
        entry.append(keys(2), {"x": values})
        assert entry.rows(keys(2)).gather(np.arange(2))["x"].tobytes() == values.tobytes()


def test_several_slots_of_a_row_stay_together(store: Store) -> None:
    masks = np.random.default_rng(0).random((10, 4)) > 0.5
    with store.open(KEY, [HIDDEN, MASK]) as entry:
        entry.append(keys(10), {**hidden(10), "mask": masks})
        rows = entry.rows(keys(10))
        order = np.array([7, 0, 7, 3])
        found = rows.gather(order)
    assert rows.names == ("hidden", "mask")
    np.testing.assert_array_equal(found["hidden"], hidden(10)["hidden"][order])
    np.testing.assert_array_equal(found["mask"], masks[order])


@pytest.mark.parametrize("size", [1, 1500], ids=["small rows", "large rows"])
@pytest.mark.parametrize("per_shard", [1, 7, 100])
def test_gather_gives_the_rows_asked_for_in_their_order(store: Store, size: int, per_shard: int) -> None:
    values = np.random.default_rng(1).standard_normal((100, size)).astype(np.float32)
    wanted = keys(100)
    with store.open(KEY, [Slot(name="x", shape=(size,), dtype="float32")]) as entry:
        for first in range(0, 100, per_shard):
            entry.append(wanted[first : first + per_shard], {"x": values[first : first + per_shard]})
            entry.flush()
        rows = entry.rows(wanted)
        for order in (np.random.default_rng(2).permutation(100), np.arange(100)[::-1], np.array([5]), np.arange(0)):
            np.testing.assert_array_equal(rows.gather(order)["x"], values[order])


def test_rows_follow_the_order_of_the_keys_and_not_of_the_disk(store: Store) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        fill(entry, 20, per_shard=6)
        order = np.random.default_rng(0).permutation(20)
        rows = entry.rows([keys(20)[i] for i in order])
        np.testing.assert_array_equal(rows.gather(np.arange(20))["hidden"], hidden(20)["hidden"][order])


def test_missing_tells_what_is_neither_stored_nor_waiting(store: Store) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        fill(entry, 4, per_shard=4)
        entry.append(keys(6)[4:], hidden(2, 4))
        assert entry.missing(keys(9)).tolist() == [6, 7, 8]
        assert entry.missing(keys(2, view="1:ab")).tolist() == [0, 1]
        assert len(entry) == 4


def test_view_and_content_are_told_apart() -> None:
    digests = row_digests([RowKey("ab", "c"), RowKey("a", "bc"), RowKey("abc", ""), RowKey("ab", "c")])
    assert len(set(digests.tolist())) == 3
    assert digests[0] == digests[3]


def test_a_row_added_twice_keeps_its_first_values_and_takes_no_more_space(store: Store) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        entry.append([*keys(3), keys(1)[0]], hidden(4))
        entry.append(keys(3), hidden(3, offset=50))
        entry.flush()
        entry.append(keys(3), hidden(3, offset=90))
        entry.flush()
        assert (len(entry), len(shards(entry))) == (3, 1)
        np.testing.assert_array_equal(entry.rows(keys(3)).gather(np.arange(3))["hidden"], hidden(3)["hidden"])


def test_the_arrays_that_were_added_may_be_used_again_at_once(store: Store) -> None:
    batch = hidden(3)
    with store.open(KEY, [HIDDEN]) as entry:
        entry.append(keys(3), batch)
        batch["hidden"][:] = -1
        np.testing.assert_array_equal(entry.rows(keys(3)).gather(np.arange(3))["hidden"], hidden(3)["hidden"])


def test_rows_not_stored_are_refused(store: Store) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        fill(entry, 4, per_shard=4)
        with pytest.raises(ValueError, match="2 of 6 requested rows are not stored"):
            entry.rows(keys(6))


@pytest.mark.parametrize(
    "arrays",
    [
        {"hidden": np.zeros((2, 3, 2))},
        {"hidden": np.zeros((3, 3, 2), np.float32)},
        {"hidden": np.zeros((2, 2, 3), np.float32)},
        {"other": np.zeros((2, 3, 2), np.float32)},
        {},
    ],
    ids=["dtype", "count", "shape", "name", "nothing"],
)
def test_arrays_that_are_not_the_slots_are_refused(store: Store, arrays: dict[str, np.ndarray]) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        with pytest.raises(ValueError, match="slots expect"):
            entry.append(keys(2), arrays)
        assert entry.missing(keys(2)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [("../x", (1,), "bool"), ("x", (0,), "bool"), ("x", (1,), "O"), ("x", (1,), "U3"), ("x", (None, None), "bool")],
)
def test_a_slot_that_cannot_be_stored_is_refused(name: str, shape: tuple[int | None, ...], dtype: str) -> None:
    with pytest.raises(ValueError, match="Slot"):
        Slot(name=name, shape=shape, dtype=dtype)


def test_shared_arrays_are_stored_once_and_beside_the_rows(store: Store) -> None:
    bias = np.arange(6, dtype=np.float16).reshape(2, 3)
    slots = [HIDDEN, Slot(name="bias", shape=(2, 3), dtype="float16", shared=True)]
    with store.open(KEY, slots) as entry:
        assert entry.shared() == {}
        entry.write_shared("bias", bias)
        entry.append(keys(2), hidden(2))
    with store.open(KEY, slots) as entry:
        entry.write_shared("bias", bias + 1)
        np.testing.assert_array_equal(entry.shared()["bias"], bias)
        assert entry.rows(keys(2)).names == ("hidden",)
        with pytest.raises(ValueError, match="none of the shared slots"):
            entry.write_shared("hidden", bias)


def test_a_damaged_shared_array_is_discarded_and_asked_for_again(store: Store) -> None:
    slots = [HIDDEN, Slot(name="bias", shape=(2, 3), dtype="float16", shared=True)]
    bias = np.ones((2, 3), dtype=np.float16)
    with store.open(KEY, slots) as entry:
        entry.write_shared("bias", bias)
        (entry.folder / "shared" / "bias.safetensors").write_bytes(b"nonsense")
    with store.open(KEY, slots) as entry:
        assert entry.shared() == {}
        assert [notice.topic for notice in entry.take_notices()] == ["store"]
        entry.write_shared("bias", bias)
        np.testing.assert_array_equal(entry.shared()["bias"], bias)


def truncate(data: bytes) -> bytes:
    return data[:-64]


def empty(_: bytes) -> bytes:
    return b""


def lengthen(data: bytes) -> bytes:
    return data + bytes(64)


def at(data: bytes, found: bytes) -> int:
    """Where `found` begins, which occurs once."""
    assert data.count(found) == 1
    return data.index(found)


def change_length(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def huge_header(data: bytes) -> bytes:
    return (2**62).to_bytes(8, "little") + data[8:]


def change_count(data: bytes) -> bytes:
    return data.replace(b'"rows":"3"', b'"rows":"4"')


def change_dtype(data: bytes) -> bytes:
    return data.replace(b'"F32"', b'"I32"')


def change_digest(data: bytes) -> bytes:
    where = at(data, b'"digest":"') + 10
    return data[:where] + (b"0" if data[where : where + 1] != b"0" else b"1") + data[where + 1 :]


def change_index(data: bytes) -> bytes:
    where = 8 + int.from_bytes(data[:8], "little") + 5
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


def nonsense(data: bytes) -> bytes:
    return bytes(range(256)) * (len(data) // 256)


DAMAGES = [truncate, empty, lengthen, change_length, huge_header, change_count, change_dtype, change_digest,
           change_index, nonsense]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_discarded_with_a_notice_and_its_rows_are_missing(store: Store, damage) -> None:  # type: ignore[no-untyped-def]
    with store.open(KEY, [HIDDEN]) as entry:
        fill(entry, 9, per_shard=3)
        broken = shards(entry)[1]
    broken.write_bytes(damage(broken.read_bytes()))
    with store.open(KEY, [HIDDEN]) as entry:
        notices = entry.take_notices()
        assert [broken.name in notice.text for notice in notices] == [True]
        assert entry.take_notices() == []
        assert entry.missing(keys(9)).tolist() == [3, 4, 5]
        assert not broken.exists()
        entry.append(keys(9)[3:6], hidden(3, 3))
        np.testing.assert_array_equal(entry.rows(keys(9)).gather(np.arange(9))["hidden"], hidden(9)["hidden"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody change a file that is open")
@pytest.mark.parametrize("vanish", [True, False])
def test_a_shard_that_changes_after_it_was_listed_is_named_and_not_read(store: Store, vanish: bool) -> None:
    with store.open(KEY, [HIDDEN]) as entry:
        fill(entry, 4, per_shard=4)
    with store.open(KEY, [HIDDEN]) as entry:
        rows = entry.rows(keys(4))
        shard = shards(entry)[0]
        if vanish:
            shard.unlink()
        else:
            shard.write_bytes(shard.read_bytes()[:-64])
        with pytest.raises(DamagedShard, match=shard.name):
            rows.gather(np.arange(4))
        entry.refresh()
        if vanish:
            assert entry.missing(keys(4)).tolist() == [0, 1, 2, 3]


def test_rows_are_written_once_enough_of_them_wait(tmp_path: Path) -> None:
    with Store(tmp_path, limit_bytes=10**9, shard_bytes=100 * HIDDEN.row_bytes).open(KEY, [HIDDEN]) as entry:
        for first in range(0, 250, 10):
            entry.append(keys(250)[first : first + 10], hidden(10, first))
        assert len(entry) == 200
    with Store(tmp_path, limit_bytes=10**9).open(KEY, [HIDDEN]) as entry:
        assert (len(entry), len(shards(entry))) == (250, 3)


def test_rows_that_come_slowly_do_not_wait_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(entry_module.time, "monotonic", lambda: now[0])
    with store.open(KEY, [HIDDEN]) as entry:
        entry.append(keys(1), hidden(1))
        now[0] = entry_module.FLUSH_AFTER_S / 2
        entry.append(keys(2)[1:], hidden(1, 1))
        assert len(entry) == 0
        now[0] = entry_module.FLUSH_AFTER_S
        entry.append(keys(3)[2:], hidden(1, 2))
        assert len(entry) == 3


def test_memory_for_writing_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    slot = Slot(name="x", shape=(8192,), dtype="float32")
    batch = np.zeros((16, 8192), np.float32)
    wanted: Sequence[RowKey] = keys(1024)
    with Store(tmp_path, limit_bytes=10**9, shard_bytes=1 << 20).open(KEY, [slot]) as entry:
        entry.append(wanted[:16], {"x": batch})
        tracemalloc.start()
        for first in range(16, 1024, 16):
            entry.append(wanted[first : first + 16], {"x": batch})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20, "32 MiB were written"
