"""Looking into the cache, and clearing it."""

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from regraft.activations.entry import Entry
from regraft.activations.slots import RowKey, Slot
from regraft.activations.store import Store
from regraft.data import scan as memory
from regraft.data.archives import _used, unpacked
from regraft.data.scan import ScanMemory
from regraft.errors import BadRequest
from regraft.workbench import cache

NAMES = ("googlenet:bn", "googlenet:torchvision", "resnet18:torchvision", "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    return tmp_path


def filled(home: Path, backbone: str, rows: int = 3) -> Entry:
    entry = Store(home / "store").open(
        {"backbone": backbone, "cut": "4e", "dtype": "float32"},
        [Slot(name="hidden", shape=(8,), dtype="float32", shared=False)],
    )
    entry.append([RowKey(f"{i}", "plain") for i in range(rows)], {"hidden": np.zeros((rows, 8), np.float32)})
    entry.flush()
    return entry


def test_looking_lists_entries_with_their_facts_and_makes_nothing(home: Path) -> None:
    assert cache.look().entries == ()
    assert list(home.iterdir()) == []
    with filled(home, NAMES[1], rows=5):
        (entry,) = cache.look().entries
        assert (entry.backbone, entry.cut, entry.dtype, entry.rows) == (NAMES[1], "4e", "float32", 5)
        assert entry.pinned
        assert entry.bytes >= 5 * 8 * 4
    (home / "downloads").mkdir()
    (home / "downloads" / "weights.pth").write_bytes(b"x" * 1000)
    found = cache.look()
    assert found.others == {"downloads": 1000}
    assert found.bytes == found.store_bytes + 1000
    assert not found.entries[0].pinned


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("googlenet", {0, 1}),
        (NAMES[0], {0}),
        ("resnet18:torchvision", {2}),
        ("google", set()),
    ],
)
def test_clearing_by_backbone_takes_that_ones_entries_alone(home: Path, asked: str, meant: set[int]) -> None:
    for name in NAMES:
        filled(home, name).close()
    done = cache.clear(backbone=asked)
    assert {one.backbone for one in done.removed} == {NAMES[i] for i in meant}
    assert len(cache.look().entries) == len(NAMES) - len(meant)


def test_weights_cannot_be_cleared_by_name_and_the_error_says_what_can(home: Path) -> None:
    filled(home, NAMES[0]).close()
    with pytest.raises(BadRequest, match="use googlenet, which clears"):
        cache.clear(backbone="googlenet@imagenet")
    assert len(cache.look().entries) == 1


def test_clearing_spares_what_is_in_use_and_says_so(home: Path) -> None:
    filled(home, NAMES[0]).close()
    with filled(home, NAMES[2]):
        done = cache.clear()
        assert [one.backbone for one in done.removed] == [NAMES[0]]
        assert [one.backbone for one in done.kept] == [NAMES[2]]
    assert done.freed_bytes > 0


def test_what_scans_remember_is_counted_and_goes_when_all_is_cleared(home: Path) -> None:
    ScanMemory().keep_array("clusters-of-something", np.arange(500))
    filled(home, NAMES[0]).close()
    assert cache.look().others == {"scan": memory.size_bytes()}
    assert cache.clear(backbone="googlenet").scan_bytes == 0
    assert memory.size_bytes() > 4000
    assert cache.clear().scan_bytes > 4000
    assert memory.size_bytes() == 0
    assert cache.look().others == {"scan": 0}


def test_unpacked_archives_go_when_all_is_cleared_unless_in_use(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ants/1.png", bytes(1000))
    folder = unpacked(archive)
    assert cache.clear(backbone="googlenet").unpacked_kept == 0
    assert (done := cache.clear()).unpacked_kept == 1
    assert done.unpacked_bytes == 0
    _used.pop(folder).release()
    assert cache.clear().unpacked_bytes == 1000
    assert not folder.exists()


def test_clearing_by_age_takes_what_was_not_used_for_so_long(home: Path) -> None:
    filled(home, NAMES[0]).close()
    filled(home, NAMES[2]).close()
    (old,) = [one for one in Store(home / "store").entries() if one.key["backbone"] == NAMES[0]]
    ten_days_ago = time.time() - 10 * 86_400
    os.utime(old.path / "used", (ten_days_ago, ten_days_ago))
    assert [one.backbone for one in cache.clear(older_than_days=9).removed] == [NAMES[0]]
    assert cache.clear(older_than_days=9).removed == ()


def test_prepared_inputs_are_named_as_such(home: Path) -> None:
    filled(home, "").close()
    assert cache.look().entries[0].backbone == cache.PREPARED
