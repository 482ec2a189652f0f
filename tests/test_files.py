"""Files appear whole or not at all; a lock has one holder and dies with it."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from regraft import files
from regraft.errors import OutOfSpace
from regraft.files import Lock, atomic, cache_home, write_json, write_text

TRY = """
import sys
from pathlib import Path
from regraft.files import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
"""
HOLD = TRY + "sys.stdin.read()\n"


def test_a_written_file_has_its_content_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    with atomic(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic(tmp_path / "a.bin") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with atomic(path) as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_the_partial_file_removed(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OutOfSpace) as raised, atomic(path):
        raise OSError(code, os.strerror(code))
    assert str(path) in raised.value.message
    assert "REGRAFT_CACHE" in raised.value.fix
    assert list(tmp_path.iterdir()) == []


def test_any_other_trouble_of_the_disk_is_not_called_full(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic(tmp_path / "a.bin"):
        raise PermissionError(errno.EACCES, "no")
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic(path) as first, atomic(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # closed last, so renamed last
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_as_it_went_and_is_utf8(tmp_path: Path) -> None:
    value = {"classes": ["fourmi", "abeille", "蚂蚁"], "n": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value
    assert "蚂蚁".encode() in (tmp_path / "a.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {1, 2}])
def test_what_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_where_it_was_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    assert cache_home() == tmp_path


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the XDG folders are Linux's")
def test_the_cache_follows_xdg_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGRAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "regraft"


@contextmanager
def holder(path: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock and does not let go."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lock_excludes_another_in_the_same_process(tmp_path: Path) -> None:
    one, two = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    with one as held:
        assert held
        assert not two.acquire()
    assert two.acquire()
    two.release()


def test_a_lock_excludes_a_second_process(tmp_path: Path, child_env: dict[str, str]) -> None:
    with Lock(tmp_path / "lock") as held:
        assert held
        command = [sys.executable, "-c", TRY, str(tmp_path / "lock")]
        done = subprocess.run(command, env=child_env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_lock_is_released_when_its_process_is_killed(tmp_path: Path, child_env: dict[str, str]) -> None:
    path = tmp_path / "lock"
    with holder(path, child_env) as process:
        assert not Lock(path).acquire()
        process.kill()
        process.wait()
        with Lock(path) as held:
            assert held


def test_a_lock_may_be_released_twice(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    lock.release()
    lock.release()
    with lock as held:
        assert held


def test_the_module_under_test_is_the_one_of_this_checkout() -> None:
    assert Path(files.__file__).parents[1] == Path(__file__).parents[1] / "src"
