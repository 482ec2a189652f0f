"""Archives of folders, as people pack them, and as nobody should."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data.pictures import folder_of
from regraft.data import archives
from regraft.data.archives import clear_unpacked, unpacked
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset, unpack
from regraft.data.scan import ScanMemory, Scanned, scan
from regraft.errors import BadData, OutOfSpace

NAMES = [f"{part}/{label}/{at}.png" for part in ("train", "val") for label in ("ants", "bees") for at in range(2)]
KINDS = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, in use by nobody at the end."""
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for lock in archives._used.values():
        lock.release()
    archives._used.clear()


def packed(folder: Path, path: Path, inside: str = "photos") -> Path:
    """The folder as an archive of the kind that the ending of `path` says, under the name `inside`."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, Path(inside) / file.relative_to(folder))
        return path
    with tarfile.open(path, KINDS[path.name.partition(".")[2]]) as tar:  # type: ignore[call-overload]
        tar.add(folder, inside or ".")
    return path


def made(path: Path, *members: tuple[str, dict[str, object]]) -> Path:
    """A tar with two good classes and further members, each a name with fields of its header."""
    folder_of(path.parent / "good", NAMES)
    with tarfile.open(path, "w") as tar:
        tar.add(path.parent / "good", "photos")
        for name, fields in members:
            member = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def scanned(dataset: Dataset) -> Scanned:
    found = list(scan(dataset, ScanMemory()))[-1]
    assert isinstance(found, Scanned)
    return found


@pytest.mark.parametrize("ending", [*KINDS, "zip"])
def test_unpacking_tells_how_much_of_the_archive_is_read_and_only_once(ending: str, tmp_path: Path) -> None:
    archive = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / f"some.{ending}")
    told = [(one.phase, one.done, one.total) for one in unpack(archive / "photos")]
    assert {(phase, total) for phase, _, total in told} == {(f"unpacking some.{ending}", archive.stat().st_size)}
    done = [done for _, done, _ in told]
    assert len(done) > len(NAMES)
    assert done == sorted(done)
    assert done[-1] == archive.stat().st_size
    assert not list(unpack(archive))
    assert not list(unpack(tmp_path / "photos"))


@pytest.mark.parametrize("ending", [*KINDS, "zip"])
def test_an_archive_reads_like_the_folder_that_was_packed(ending: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", [*NAMES, "train/.hidden/0.png"])
    plain, found = open_dataset(folder), open_dataset(packed(folder, tmp_path / f"some.{ending}"))
    assert [(one.id, one.label, one.split) for one in found.examples] == [
        (one.id, one.label, one.split) for one in plain.examples
    ]
    assert found.fingerprint == plain.fingerprint
    assert found.notes[1:] == plain.notes
    assert "unpacked in the cache" in found.notes[0].text
    assert scanned(found).content == scanned(plain).content
    assert scanned(found).dataset.fingerprint == scanned(plain).dataset.fingerprint


@pytest.mark.parametrize("inside", ["", "photos", "home/me/photos", "train"])
def test_folders_that_only_enclose_the_others_are_passed_through(inside: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", ["ants/1.png", "ants/2.png", "bees/1.png", "bees/deep/2.png"])
    found = open_dataset(packed(folder, tmp_path / "some.tar", inside))
    assert found.classes == ("ants", "bees")
    assert found.splits == (("train",) if inside == "train" else ())


def test_one_class_alone_stays_a_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", ["ants/1.png", "ants/2.png"])
    for inside in ("", "photos"):
        archive = packed(folder, tmp_path / f"some{inside}.tar", inside)
        assert open_dataset(archive, learnable=False).classes == ("ants",)


def test_a_path_may_go_on_inside_to_a_table_or_a_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", NAMES)
    (folder / "metadata.csv").write_text("path,label,group\ntrain/ants/0.png,x,p1\ntrain/bees/1.png,y,p2\n")
    archive = packed(folder, tmp_path / "some.tar.gz")
    whole = open_dataset(archive)
    assert any("pass it: some.tar.gz/metadata.csv" in note.text for note in whole.notes)
    for inside in ("metadata.csv", "photos/metadata.csv"):
        table = open_dataset(archive / inside, learnable=False)
        assert [(one.label, one.group) for one in table.examples] == [("x", "p1"), ("y", "p2")]
    assert open_dataset(archive / "train").num_examples == 4
    with pytest.raises(BadData, match=r"metdata\.csv does not exist in ") as caught:
        open_dataset(archive / "metdata.csv")
    assert "metadata.csv" in caught.value.fix


def test_errors_name_the_archive_and_not_the_copy(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", ["1.png", "2.png"])
    with pytest.raises(BadData, match=r"some\.tar holds 2 images but no class folders"):
        open_dataset(packed(folder, tmp_path / "some.tar", ""))


def test_a_copy_is_made_once_and_again_when_the_archive_changes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", NAMES)
    archive = packed(folder, tmp_path / "some.tar")
    first = unpacked(archive)
    before = (first / "photos" / NAMES[0]).stat().st_ino
    assert unpacked(archive) == first
    assert (first / "photos" / NAMES[0]).stat().st_ino == before
    os.utime(archive, ns=(1, 1))
    assert unpacked(archive) != first


def test_a_killed_unpacking_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / "some.tar")
    folder = unpacked(archive)
    partial = folder.with_name(f".{folder.name}.part")
    folder.rename(partial)
    (partial / "photos" / "train" / "wasps").mkdir()
    assert not (unpacked(archive) / "photos" / "train" / "wasps").exists()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("../outside.png", {"size": 10}, "outside"),
        ("/absolute.png", {"size": 10}, "absolute"),
        ("photos/link.png", {"type": tarfile.SYMTYPE, "linkname": "../../../secret.png"}, "outside"),
        ("photos/link.png", {"type": tarfile.LNKTYPE, "linkname": "../../secret.png"}, "outside"),
        ("photos/link.png", {"type": tarfile.SYMTYPE, "linkname": "/secret.png"}, "absolute"),
        ("photos/null", {"type": tarfile.CHRTYPE}, "special"),
        ("photos/pipe", {"type": tarfile.FIFOTYPE}, "special"),
    ],
)
def test_what_leads_out_of_the_archive_is_refused(
    name: str, fields: dict[str, object], words: str, tmp_path: Path, home: Path
) -> None:
    with pytest.raises(BadData, match=name) as caught:
        open_dataset(made(tmp_path / "evil.tar", (name, fields)))
    assert words in caught.value.message
    assert not list(tmp_path.rglob("outside.png"))
    assert not [path for path in (home / "archives").iterdir() if path.is_dir()]


def test_a_zip_that_leads_out_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside.png", b"x")
    with pytest.raises(BadData, match=r"outside\.png.*points outside"):
        open_dataset(tmp_path / "evil.zip")


def test_links_inside_are_followed(tmp_path: Path) -> None:
    link = {"type": tarfile.SYMTYPE, "linkname": "0.png"}
    assert open_dataset(made(tmp_path / "some.tar", ("photos/train/ants/3.png", link))).num_examples == 9


def test_an_archive_that_grows_without_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MIN_LIMIT", 1_000_000)
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("a/zeros.png")
        member.size = 50_000_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    assert (tmp_path / "bomb.tar.gz").stat().st_size < 500_000
    with pytest.raises(BadData, match="over 100 times its own size"):
        open_dataset(tmp_path / "bomb.tar.gz")


def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / "some.tar")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: _Usage())
    with pytest.raises(OutOfSpace, match="Not enough disk space"):
        open_dataset(archive)


class _Usage:
    free = 5000


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_an_archive_that_is_cut_off_is_named(ending: str, share: float, tmp_path: Path, home: Path) -> None:
    whole = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / f"whole.{ending}")
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(BadData, match=rf"cut\.{ending} is damaged"):
        open_dataset(cut)
    assert not [path for path in (home / "archives").iterdir() if path.is_dir()]


def test_a_checksum_at_the_end_is_compared(tmp_path: Path) -> None:
    archive = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / "some.tar.gz")
    data = bytearray(archive.read_bytes())
    data[-8] ^= 0xFF  # RFC 1952: the last eight bytes are CRC-32 and length
    archive.write_bytes(data)
    with pytest.raises(BadData, match="CRC check failed"):
        open_dataset(archive)


def test_what_is_called_an_archive_and_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.tar.gz").write_bytes(b"<html>not found</html>" * 100)
    (tmp_path / "text.tgz").write_bytes(gzip.compress(b"words " * 5000))
    for name in ("page.tar.gz", "text.tgz"):
        with pytest.raises(BadData, match=f"{name} is damaged or not an archive"):
            open_dataset(tmp_path / name)


def test_clearing_leaves_copies_that_a_living_process_uses(tmp_path: Path, child_env: dict[str, str]) -> None:
    archive = packed(folder_of(tmp_path / "photos", NAMES), tmp_path / "some.tar")
    script = (
        "import sys; from pathlib import Path; from regraft.data.archives import unpacked;"
        "print(unpacked(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(archive)]
    env = {**child_env, "REGRAFT_CACHE": os.environ["REGRAFT_CACHE"]}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        folder = Path(user.stdout.readline().strip())
        assert clear_unpacked() == (0, 1)
        assert folder.is_dir()
        user.communicate("")
    unpacked(archive)
    assert clear_unpacked() == (0, 1)
    archives._used.popitem()[1].release()
    freed = sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert clear_unpacked() == (freed, 0)
    assert not folder.exists()
    assert not list(folder.parent.glob("*.use"))
    assert open_dataset(archive).num_examples == len(NAMES)


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("hymenoptera", 397),
        ("plantvillage_tomato", 630),
        ("breast_histology", 1000),
        ("chest_xray_pneumonia", 800),
        ("att_faces", 400),
    ],
)
def test_real_archives_read_like_their_folders(
    name: str, examples: int, shared_data: Path, unpacked: Callable[[str], Path]
) -> None:
    found = open_dataset(shared_data / f"{name}.tar.gz")
    assert found.num_examples == examples
    assert found.fingerprint == open_dataset(unpacked(name)).fingerprint


def test_the_table_of_a_real_archive_gives_groups(shared_data: Path) -> None:
    table = shared_data / "breast_histology.tar.gz" / "metadata.csv"
    found = open_dataset(table, path_column="file", group_column="patient_id")
    assert found.groups is not None
    assert len(np.unique(found.groups)) == 20
    assert found.splits == ("train", "test")
