"""Facts and exported prefixes are remembered, and are the first to be doubted."""

import os
import time
from pathlib import Path

import pytest

from regraft.activations.disk import Memo
from regraft.activations.store import RESTING_S, Store
from regraft.errors import OutOfSpace
from regraft.files import atomic


@pytest.mark.parametrize("value", [0, 1.5, "yes", [1, {"a": None}], {"shape": [1, 2]}, False])
def test_a_fact_comes_back(tmp_path: Path, value: object) -> None:
    Memo(tmp_path).put({"of": ["x", 1]}, value)  # type: ignore[arg-type]
    assert Memo(tmp_path).get({"of": ["x", 1]}) == value


def test_an_unknown_fact_is_none(tmp_path: Path) -> None:
    Memo(tmp_path).put("a", 1)
    assert Memo(tmp_path).get("b") is None


def test_a_newer_fact_takes_the_place_of_the_old(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("a", 1)
    memo.put("a", 2)
    assert memo.get("a") == 2


@pytest.mark.parametrize("content", [b"", b'{"key": "a", "val', b'{"key": "b", "value": 3}', b"[]", b"\xff"])
def test_a_damaged_fact_is_forgotten(tmp_path: Path, content: bytes) -> None:
    memo = Memo(tmp_path)
    memo.put("a", 1)
    (path,) = (tmp_path / "facts").iterdir()
    path.write_bytes(content)
    assert memo.get("a") is None


def test_files_have_a_place_that_their_key_decides(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    assert memo.file({"cut": "b"}, ".onnx") == Memo(tmp_path).file({"cut": "b"}, ".onnx")
    assert memo.file({"cut": "b"}, ".onnx") != memo.file({"cut": "c"}, ".onnx")


def test_a_file_counts_in_the_size_and_is_evicted_when_nobody_asks_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=10_000)
    path = store.memo.file("prefix", ".onnx")
    with atomic(path) as file:
        file.write(bytes(8_000))
    assert store.size_bytes() == 8_000
    with pytest.raises(OutOfSpace):
        store.make_room(5_000)
    long_ago = time.time() - 2 * RESTING_S
    os.utime(path, (long_ago, long_ago))
    store.memo.file("prefix", ".onnx")
    with pytest.raises(OutOfSpace):
        store.make_room(5_000)
    os.utime(path, (long_ago, long_ago))
    assert store.available() == 10_000
    store.make_room(5_000)
    assert not path.exists()
