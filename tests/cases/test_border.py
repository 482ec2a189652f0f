"""What the system, an allocator or an encoding says: printing, names, memory, disk and cache. K5, K7 to K10."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cases.children import Children, Done
from regraft.errors import BadRequest
from regraft.files import atomic, atomic_folder, cache_home

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
TINY = ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--set", "threads=1")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
ENCODINGS = ("ascii", "cp1251", "cp1252", "utf-16")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as found:
        yield found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, children: Children) -> Path:
    """A folder with `photos/{train,test}/{cat,dog}`, the same as numbers in `numbers.csv`, and the model `m`."""
    found = tmp_path_factory.mktemp("border")
    noise, rows = np.random.default_rng(0), ["path,size,split"]
    for split, count in (("train", 8), ("test", 6)):
        for kind, name in enumerate(("cat", "dog")):
            (found / "photos" / split / name).mkdir(parents=True)
            for at in range(count):
                path = f"photos/{split}/{name}/{at:02}.png"
                pixels = noise.normal(60 + 60 * kind, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(found / path)
                rows.append(f"{path},{kind + at / 10},{split}")
    (found / "numbers.csv").write_text("\n".join(rows))
    done = children.run("fit", "photos", *TINY, "--out", "m", folder=found)
    assert done.code == 0, done.err
    return found


def named(done: Done, code: int, *words: str) -> None:
    """The command ended with this exit code and one message that has these words, without a traceback."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    message = done.err[done.err.index("regraft: ") :]
    assert "\n  fix: " in message
    for word in words:
        assert word in message


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# ---- K5: printing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_k05_printing_a_regression_does_not_fail_whatever_the_encoding(
    encoding: str, root: Path, children: Children, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    env = {"PYTHONIOENCODING": encoding}
    done = children.run(
        "fit",
        "numbers.csv",
        "--label-column",
        "size",
        "--task",
        "regression",
        *TINY,
        "--out",
        out,
        folder=root,
        env=env,
    )
    assert done.code == 0, done.err
    text = done.out.decode(encoding)
    assert (r"R\xb2" in text or r"R\u00b2" in text) == (encoding in ("ascii", "cp1251")), text
    assert ("R²" in text) == (encoding not in ("ascii", "cp1251"))


@pytest.mark.parametrize(
    "encoding", [ENCODINGS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in ENCODINGS[1:])]
)
@pytest.mark.parametrize(
    "command",
    [
        ("backbones",), ("strategies",), ("lab",), ("cache",), ("show", "photos"), ("describe", "googlenet:tiny"),
        ("predict", "m", "photos/test"), ("evaluate", "m", "--data", "photos"), ("compare", "m", "m"), ("fit", "-h"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_k05_no_verb_fails_to_print(command: tuple[str, ...], encoding: str, root: Path, children: Children) -> None:
    done = children.run(*command, folder=root, env={"PYTHONIOENCODING": encoding})
    assert done.code == 0, done.err
    assert done.out.decode(encoding)


def test_k05_a_stream_that_was_closed_or_that_lacks_characters_stops_nothing(
    root: Path, children: Children, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = "os.close(1); os.close(2); sys.stdout = sys.stderr = None"
    assert children.run("predict", "m", "photos/test", "--out", tmp_path / "t.csv", folder=root, before=gone).code == 0
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 13
    from regraft.doors.screen import watched
    from regraft.values import Notice

    with (tmp_path / "log").open("w", encoding="ascii") as log:
        monkeypatch.setattr(sys, "stderr", log)
        list(watched([Notice(text="caf\u00e9 \u2026 \udce9")]))
    assert (tmp_path / "log").read_text() == "note: caf\\xe9 \\u2026 \\udce9\n"
    monkeypatch.setattr(sys, "stderr", None)
    list(watched([Notice(text="nobody listens")]))


# ---- K7: names that are not UTF-8 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def latin(root: Path) -> Path:
    """`root` with `latin/{train,test}/{caf\\xe9, th\\xe9}/\\xe9N.png`, one of them damaged."""
    for split in ("train", "test"):
        for old, new in (("cat", b"caf\xe9"), ("dog", b"th\xe9")):
            folder = os.path.join(os.fsencode(root), b"latin", split.encode(), new)  # noqa: PTH118 - bytes
            try:
                os.makedirs(folder)  # noqa: PTH103
            except OSError:
                pytest.skip("this file system takes names in UTF-8 alone")
            for path in (root / "photos" / split / old).iterdir():
                shutil.copy(path, os.path.join(folder, b"\xe9" + os.fsencode(path.name)))  # noqa: PTH118
            shutil.copy(path, os.path.join(folder, b"\xe8" + os.fsencode(path.name)))  # noqa: PTH118
    with open(os.path.join(os.fsencode(root), b"latin/train", b"th\xe9", b"\xe9.png"), "wb") as file:  # noqa: PTH118, PTH123
        file.write(b"\x89PNG\r\n\x1a\n0000")
    return root


def test_k07_every_row_is_written_and_names_are_escaped(latin: Path, children: Children, tmp_path: Path) -> None:
    done = children.run("predict", "m", "latin/test", "--out", tmp_path / "t.csv", folder=latin)
    assert done.code == 0, done.err
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        names = [row["input"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) == 14
    assert names[0].endswith(r"caf\udce9/\udce800.png")
    lines = children.run("predict", "m", "latin/test", "--json", folder=latin).out.decode("ascii").splitlines()
    assert [os.fsencode(json.loads(line)["id"]).endswith(b".png") for line in lines] == [True] * 14
    assert children.run("predict", "m", "latin/test", folder=latin).out.decode().count("\n") == 14


def test_k07_such_names_are_classes_examples_and_damaged_files_like_others(
    latin: Path, children: Children, tmp_path: Path
) -> None:
    run, again = tmp_path / os.fsdecode(b"r\xe9"), tmp_path / "again"
    allow = ("--set", "source.max_damaged_share=0.5", "--allow-leaks")
    done = children.run("fit", "latin", *TINY, *allow, "--out", run, "-q", folder=latin)
    assert done.code == 0, done.err
    assert r"th\xe9/\xe9.png" in done.err, "-q hides what was left out"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["classes"] == [r"caf\xe9", r"th\xe9"]
    assert [one["id"] for one in report["data"]["quarantined"]] == [r"train/th\xe9/\xe9.png"]
    for page in ("report.md", "report.html", "predictions.csv", "model/README.md"):
        assert "caf" in (run / page).read_text(encoding="utf-8")
    done = children.run("evaluate", run, "--data", "latin", "--out", again, folder=latin)
    assert done.code == 0, done.err
    names = [row.split(",")[1] for row in (again / "predictions.csv").read_text(encoding="utf-8").splitlines()]
    assert len(names) == len(set(names)) == 15
    assert children.run("compare", run, again, folder=latin).code == 0


# ---- K8: memory ------------------------------------------------------------------------------------------------------

MORE = """
import resource
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + ({} << 20),) * 2)
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a limit on memory needs Linux")


@LINUX
@pytest.mark.parametrize("more", [0, 8, 40])
@pytest.mark.parametrize(
    "command",
    [
        ("fit", "photos", "--backbone", "googlenet@random", "--strategy", "full", "--input-px", "448", "--out", "big"),
        ("fit", "photos", "--backbone", "googlenet@random", "--input-px", "448", "--out", "big"),
        ("predict", "wide", "photos/test"),
        ("evaluate", "wide", "--data", "photos", "--out", "big"),
    ],
    ids=lambda command: " ".join(command[:2]) + (" full" if "full" in command else ""),
)
def test_k08_too_little_memory_is_named_with_what_to_lower(
    command: tuple[str, ...], more: int, root: Path, children: Children
) -> None:
    if not (root / "wide").exists():
        wide = ("fit", "photos", "--backbone", "googlenet@random", "--input-px", "448", "--out", "wide")
        assert children.run(*wide, "--set", "threads=1", folder=root).code == 0
    before = files(root)
    done = children.run(*command, folder=root, before=MORE.format(more))
    if done.code == 0 and more == 40:  # enough on this machine
        shutil.rmtree(root / "big", ignore_errors=True)
        return
    try:
        named(done, 7, "Out of memory", "options.batch", "--input-px", "--cut")
    finally:
        if done.code != 7:  # a failure here is not one of the next test
            shutil.rmtree(root / "big", ignore_errors=True)
    if (root / "big" / "begun.json").exists():  # what was made until then, to go on from
        again = children.run(*command, "--resume", folder=root)
        assert again.code == 0, again.err
        assert not (root / "big" / "begun.json").exists()
        shutil.rmtree(root / "big")
    assert files(root) == before, "something half-written was left"
    assert "EP Error" not in done.out.decode()


@LINUX
def test_k08_an_allocation_that_fails_once_does_not_choose_the_backend_for_good(
    root: Path, children: Children, tmp_path: Path
) -> None:
    fit = ("fit", "photos", *TINY, "--out", tmp_path / "run")
    env = {"REGRAFT_CACHE": str(tmp_path / "cache")}
    fail = """
import torch
def export(*_, **__): raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
torch.onnx.export = export
"""
    named(children.run(*fit, folder=root, env=env, before=fail), 7, "memory")
    done = children.run(*fit, folder=root, env=env)
    assert (done.code, "instead of ONNX Runtime" in done.err) == (0, False), done.err


def test_k08_from_python_the_same_error_advises_parameters(tmp_path: Path) -> None:
    from regraft.doors.python import parameters_for_flags
    from regraft.errors import OutOfSpace

    for raised in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), OSError(12, "no")):
        with pytest.raises(OutOfSpace) as caught, parameters_for_flags():
            raise raised
        assert "options={'batch': 8}" in caught.value.fix
        assert "--" not in caught.value.fix
    with pytest.raises(KeyError), parameters_for_flags():
        raise KeyError("a fault of ours stays what it is")
    with pytest.raises(BadRequest, match="File exists"), parameters_for_flags():
        (tmp_path / "there").touch()
        (tmp_path / "there").mkdir()


# ---- K9: disk --------------------------------------------------------------------------------------------------------


@FULL
@pytest.mark.parametrize(
    "command",
    [
        ("cache",), ("backbones",), ("describe", "googlenet:tiny"), ("predict", "m", "photos/test"), ("show", "photos"),
        ("evaluate", "m", "--data", "photos", "--json"), ("compare", "m", "m"), ("fit", "-h"),
        ("predict", "m", "photos/test", "--out", "/dev/full"), ("describe", "googlenet:tiny", "--svg", "/dev/full"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_k09_a_full_disk_under_the_output_is_named(command: tuple[str, ...], root: Path, children: Children) -> None:
    before = files(root)
    named(children.run(*command, folder=root, out="/dev/full"), 7, "The disk is full")
    assert files(root) == before


@FULL
def test_k09_a_full_disk_under_the_log_keeps_the_exit_code(root: Path, children: Children) -> None:
    assert children.run("predict", "m", "nothing", folder=root, err="/dev/full").code == 3
    assert children.run("fit", "photos", *TINY, "--out", "full-log", folder=root, err="/dev/full").code == 7
    shutil.rmtree(root / "full-log")


def test_k09_the_events_of_a_run_on_a_full_disk_are_named_and_the_run_goes_on_later(
    root: Path, children: Children, tmp_path: Path
) -> None:
    fail = """
from regraft.workbench import run as _folder
class Log:
    name, lines = "run/events.jsonl", 0
    def __init__(self, file): self.file = file
    def write(self, line):
        self.lines += 1
        self.file.write(line if self.lines < 4 else line[:9])
        if self.lines >= 4: self.file.flush(); raise OSError(28, "No space left on device")
    def flush(self): self.file.flush()
    def close(self): self.file.close(); raise OSError(28, "No space left on device")
first = _folder.RunFolder.__init__
def begin(self, *given, **named): first(self, *given, **named); self._events = Log(self._events)
_folder.RunFolder.__init__ = begin
"""
    short = ("--set", "options.epochs=8", "--set", "options.min_steps=0")
    fit = ("fit", root / "photos", "--strategy", "full", *short, *TINY, "--out", "run")
    named(children.run(*fit, folder=tmp_path, before=fail), 7, "run/events.jsonl could not be written")
    assert files(tmp_path) == set(), "nothing was made yet, so nothing stays"
    (tmp_path / "run").mkdir()
    done = children.run(*fit, folder=tmp_path)
    assert done.code == 0, done.err


DISK = """
import ctypes
libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x20000): os._exit(77)  # a user and a mount namespace of its own
for name, text in (("uid_map", f"0 {{user}} 1"), ("setgroups", "deny"), ("gid_map", f"0 {{group}} 1")):
    open(f"/proc/self/{{name}}", "w").write(text)
os.makedirs("disk", exist_ok=True)
if libc.mount(b"none", b"disk", b"tmpfs", 0, b"size={}k"): os._exit(77)
"""
LEFT = """
for folder, _, names in os.walk("disk"): os.write(1, "".join(f"{folder}/{one}\\n" for one in names).encode())
"""


@LINUX
@pytest.mark.parametrize(
    ("kilobytes", "command"),
    [
        (16, ("evaluate", "m", "--data", "photos", "--out", "disk/out")),
        (40, ("evaluate", "m", "--data", "photos", "--out", "disk/out")),
        (4, ("predict", "m", *["photos"] * 4, "--out", "disk/out")),
        (4, ("fit", "photos", *TINY, "--out", "disk/out")),
        (60, ("fit", "photos", *TINY, "--out", "disk/out")),
        (60, ("extend", "m", "--data", "more", "--max-loss", "0.99", "--out", "disk/out")),
        (40, ("fit", "photos", *TINY, "--out", "elsewhere")),
        (1200, ("fit", "photos", *TINY, "--out", "elsewhere")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_k09_a_disk_that_fills_up_is_named_and_nothing_half_written_stays(
    kilobytes: int, command: tuple[str, ...], root: Path, children: Children
) -> None:
    if command[0] == "extend" and not (root / "more").exists():
        shutil.copytree(root / "photos" / "train" / "cat", root / "more" / "fox")
        for at, path in enumerate(sorted((root / "more" / "fox").iterdir())):
            Image.open(path).transpose(Image.Transpose.ROTATE_90).point(lambda level, at=at: level // 2 + at).save(path)
    before = files(root)
    env = {"REGRAFT_CACHE": "disk/cache"} if "elsewhere" in command else {}
    done = children.run(*command, folder=root, env=env, before=DISK.format(kilobytes), after=LEFT)
    (root / "disk").rmdir()
    if done.code == 77:
        pytest.skip("this user may not mount a small disk")
    named(done, 7, "The disk is full")
    left = [line for line in done.out.decode().splitlines() if line.startswith("disk/")]
    assert [line for line in left if not line.startswith("disk/cache/") or ".part" in line] == []
    assert files(root) == before


def test_k09_a_scan_that_cannot_be_remembered_says_that_the_disk_is_full(
    root: Path, children: Children, tmp_path: Path
) -> None:
    fail = """
sync = os.fsync
def full(number):
    if "/scan/" in os.readlink(f"/proc/self/fd/{number}"): raise OSError(28, "No space left on device")
    sync(number)
os.fsync = full
"""
    shutil.copytree(root / "photos", tmp_path / "photos")
    for path in (tmp_path / "photos").rglob("*.png"):
        os.utime(path, (1, 1))
    done = children.run("fit", "photos", *TINY, "--out", "run", "-q", folder=tmp_path, before=fail)
    assert done.code == 0, done.err
    assert "The results of the scan could not be cached: The disk is full: " in done.err
    assert "requested and" not in done.err


def test_a_link_is_followed_and_what_is_no_file_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with atomic(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic(tmp_path / "pipe") as file:
        file.write(b"through")
    assert os.read(reader, 20) == b"through"
    os.close(reader)
    with pytest.raises(IsADirectoryError), atomic(tmp_path):
        pass
    assert files(tmp_path) == {"there", "link", "pipe"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "of a killed process").touch()
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise ValueError("stop")
    assert files(tmp_path) == set()
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert files(tmp_path) == {"out", "out/a"}


# ---- K10: the cache, and other paths ---------------------------------------------------------------------------------


def test_k10_a_cache_that_cannot_be_made_is_named_with_its_variable(
    root: Path, children: Children, tmp_path: Path
) -> None:
    (tmp_path / ".cache").symlink_to(tmp_path / "nowhere")
    fit = ("fit", root / "photos", *TINY, "--out", "run")
    own = {"REGRAFT_CACHE": None, "XDG_CACHE_HOME": None, "HOME": str(tmp_path)}
    done = children.run(*fit, folder=tmp_path, env=own)
    named(done, 2, f"{tmp_path / '.cache'}", "a broken link", "set REGRAFT_CACHE")
    done = children.run(*fit, folder=tmp_path, env={"REGRAFT_CACHE": str(root / "numbers.csv")})
    named(done, 2, str(root / "numbers.csv"), "set REGRAFT_CACHE")
    assert files(tmp_path) == {".cache"}
    if os.getuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        done = children.run(*fit, folder=tmp_path, env={"REGRAFT_CACHE": str(tmp_path / "closed")})
        named(done, 2, str(tmp_path / "closed"), "set REGRAFT_CACHE")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the XDG specification is not theirs")
def test_k10_a_cache_without_a_home_or_with_an_empty_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGRAFT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_home() == tmp_path / ".cache" / "regraft"

    def nobody(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(BadRequest, match="cache folder cannot be located") as caught:
        cache_home()
    assert "REGRAFT_CACHE" in caught.value.fix


@pytest.mark.parametrize("verb", ["predict", "evaluate", "fit", "describe"])
@pytest.mark.parametrize("out", ["file/out", "file"])
def test_an_output_on_a_file_or_below_one_is_refused_before_the_work(
    verb: str, out: str, root: Path, children: Children, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    command = {
        "predict": ("predict", root / "m", root / "photos", "--out"),
        "evaluate": ("evaluate", root / "m", "--data", root / "photos", "--out"),
        "fit": ("fit", root / "photos", *TINY, "--out"),
        "describe": ("describe", "googlenet:tiny", "--html"),
    }[verb]
    done = children.run(*command, tmp_path / out, folder=tmp_path)
    if out == "file" and verb in ("predict", "describe"):
        assert done.code == 0, "a file is replaced"
        return
    named(done, 9 if out == "file" else 2, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"
    assert files(tmp_path) == {"file"}


def test_a_folder_where_a_file_is_to_be_written_is_refused(root: Path, children: Children) -> None:
    named(children.run("predict", "m", "photos/test", "--out", "photos", folder=root), 2, "Is a directory")


@pytest.mark.parametrize("verb", ["fit", "extend", "evaluate", "predict"])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_an_interrupted_command_has_its_exit_code_and_leaves_nothing_half_written(
    verb: str, number: str, code: int, root: Path, children: Children, tmp_path: Path
) -> None:
    command = {
        "fit": ("fit", root / "photos", *TINY, "--out", "out"),
        "extend": ("extend", root / "m", "--data", root / "photos", "--out", "out"),
        "evaluate": ("evaluate", root / "m", "--data", root / "photos", "--out", "out"),
        "predict": ("predict", root / "m", root / "photos", "--out", "out"),
    }[verb]
    stop = f"""
import signal
from regraft.bundles import bundle
from regraft.workbench import run as _folder
def stopped(*_, **__): os.kill(os.getpid(), signal.{number}); raise AssertionError("went on")
bundle.Bundle.stream = _folder.RunFolder.log = stopped
"""
    done = children.run(*command, folder=tmp_path, before=stop)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    if verb in ("fit", "extend"):
        assert "--out out --resume" in done.err
    else:
        assert files(tmp_path) == set()
