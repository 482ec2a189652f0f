"""Near-duplicates: found where they are, exactly, and not where pictures merely look alike."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.contracts.example import Example, in_file
from regraft.data.dataset import Dataset
from regraft.data.scan import ScanMemory, Scanned, scan
from regraft.data.splits import clusters, union
from regraft.folds import hash_pairs
from regraft.modalities.image.decode import decode
from regraft.modalities.image.fingerprint import near_pairs

SHARED = Path(__file__).parents[3] / "shared" / "data"


def scanned_of(images: list[Image.Image], folder: Path, memory: ScanMemory | None = None) -> Scanned:
    examples = []
    for at, image in enumerate(images):
        path = folder / f"{at:05d}.bmp"
        image.save(path)
        examples.append(Example(id=path.name, contents=in_file(path), label="x"))
    dataset = Dataset(root=folder, examples=tuple(examples), classes=("x",))
    scanned = list(scan(dataset, memory or ScanMemory(folder / "memory"), max_damaged_share=1.0))[-1]
    assert isinstance(scanned, Scanned)
    return scanned


def photo(seed: int) -> Image.Image:
    """Blurred noise of several sizes with edges: as varied in brightness as a photograph."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).resize((200, 160), how), dtype=float
        )
        for size, how in ((4, Image.Resampling.BICUBIC), (9, Image.Resampling.NEAREST), (40, Image.Resampling.BICUBIC))
    ]
    return Image.fromarray((0.5 * layers[0] + 0.35 * layers[1] + 0.15 * layers[2]).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


COPIES: list[Callable[[Image.Image], Image.Image]] = [
    lambda image: jpeg(image, 40),
    lambda image: image.resize((100, 80), Image.Resampling.BICUBIC),
    lambda image: image.resize((320, 256), Image.Resampling.BILINEAR),
    lambda image: image.point(lambda value: int(value * 0.85)),
]


def test_copies_join_their_original_and_nothing_else(tmp_path: Path) -> None:
    originals = [photo(seed) for seed in range(20)]
    copies = [change(image) for image in originals for change in COPIES]
    found = clusters(scanned_of(originals + copies, tmp_path))
    assert found.tolist() == list(range(20)) + [at for at in range(20) for _ in COPIES]


def test_equal_pixels_join_however_flat_the_picture(tmp_path: Path) -> None:
    flat = [Image.new("RGB", (30, 30), colour) for colour in ("red", "red", "blue", "white", "white", "grey")]
    assert clusters(scanned_of(flat, tmp_path)).tolist() == [0, 0, 2, 3, 3, 5]


def test_pictures_that_differ_in_colour_only_stay_apart(tmp_path: Path) -> None:
    lights = []
    for colour in ("red", "lime", "blue"):
        light = Image.new("RGB", (64, 64), "white")
        light.paste(Image.new("RGB", (24, 24), colour), (20, 20))
        lights.append(light)
    assert len(set(clusters(scanned_of(lights, tmp_path)).tolist())) == 3


def test_damaged_files_are_alone(tmp_path: Path) -> None:
    scanned = scanned_of([photo(1), photo(1), photo(1)], tmp_path)
    for at in (0, 1):
        scanned.dataset.examples[at].path.write_bytes(b"")
    again = list(scan(scanned.dataset, ScanMemory(tmp_path / "other"), max_damaged_share=1.0))[-1]
    assert isinstance(again, Scanned)
    assert clusters(again).tolist() == [0, 1, 2]


def test_clusters_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = ScanMemory(tmp_path / "memory")
    scanned = scanned_of([photo(1), jpeg(photo(1), 60), photo(2)], tmp_path, memory)
    first = clusters(scanned)
    monkeypatch.setattr("regraft.data.splits._clusters", lambda _: pytest.fail("computed again"))
    assert clusters(scanned).tolist() == first.tolist() == [0, 0, 2]


@pytest.mark.parametrize("max_bits", [0, 5, 20, 40])
def test_the_search_finds_exactly_the_pairs_that_comparing_all_finds(max_bits: int) -> None:
    rng = np.random.default_rng(max_bits)
    bits = rng.random((300, 256)) < rng.random(256) ** 3  # many bits hardly vary, as on plain ground
    bits[150:] = bits[:150] ^ (rng.random((150, 256)) < rng.random((150, 1)) * 0.3)
    hashes = np.packbits(bits, axis=1)
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    expected = {(left, right) for left, right in zip(*np.where(apart <= max_bits), strict=True) if left < right}
    found = {tuple(sorted(pair)) for pairs in hash_pairs(hashes, max_bits) for pair in pairs.tolist()}
    assert found == expected


def test_a_union_connects_chains() -> None:
    pairs = np.array([[4, 3], [1, 3], [5, 6]])
    assert union(7, pairs).tolist() == [0, 1, 2, 1, 1, 5, 5]
    assert union(2, np.zeros((0, 2), dtype=np.int64)).tolist() == [0, 1]


@pytest.mark.parametrize("size_px", [8, 32])
def test_handwritten_digits_do_not_collapse(size_px: int, tmp_path: Path) -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits().images[:700]
    images = [
        Image.fromarray((digit * 15.9).astype(np.uint8)).resize((size_px, size_px), Image.Resampling.BICUBIC)
        for digit in digits
    ]
    found = clusters(scanned_of(images, tmp_path))
    assert len(found) - len(set(found.tolist())) <= 2


@pytest.mark.parametrize("name", ["hymenoptera", "chest_xray_pneumonia", "plantvillage_tomato"])
def test_real_pictures_that_look_alike_stay_apart_and_their_copies_join(name: str, tmp_path: Path) -> None:
    archive = SHARED / f"{name}.tar.gz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not on this machine")
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".jpg")][::3][:120]
        images = [decode(file.read()) for file in map(tar.extractfile, members) if file]
    copies = [change(image) for image in images[:15] for change in (COPIES[0], COPIES[1])]
    scanned = scanned_of(images + copies, tmp_path)
    pairs = near_pairs(scanned.rows)
    originals = len(images)
    assert not (pairs < originals).all(axis=1).any()
    found = clusters(scanned)
    joined = [found[originals + at] == at // 2 for at in range(len(copies))]
    assert np.mean(joined) >= 0.85
