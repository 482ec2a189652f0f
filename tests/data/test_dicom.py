"""DICOM files: shown as the standard says. Expected values are computed by hand from PS3.3 C.11.2.1.2 and its kin."""

import contextlib
import io
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

from PIL import Image  # noqa: E402
from pydicom.dataset import Dataset as Elements  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import MPEG2MPML, JPEGBaseline8Bit, JPEGLossless  # noqa: E402

from data.dicoms import dicom, dicom_at  # noqa: E402
from data.pictures import picture  # noqa: E402
from regraft.data.dataset import Dataset  # noqa: E402
from regraft.data.open import open_dataset  # noqa: E402
from regraft.data.scan import (  # noqa: E402
    ScanMemory,
    Scanned,
    scan,
)
from regraft.data.splits import draw  # noqa: E402
from regraft.errors import MissingExtra, Undecodable  # noqa: E402
from regraft.modalities.image import dicom as _dicom  # noqa: E402
from regraft.modalities.image import fingerprint as _measure  # noqa: E402
from regraft.modalities.image.decode import decode, decoder  # noqa: E402
from regraft.modalities.image.planes import as_array  # noqa: E402


def shown(data: bytes) -> list[int]:
    """The first row as it is shown, which must be grey."""
    pixels = as_array(decode(data))
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


def row(*values: int, dtype: type = np.uint16) -> np.ndarray:
    return np.array([values], dtype=dtype)


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    return caught.value.reason


def test_without_a_window_the_range_of_the_stored_bits_is_shown() -> None:
    assert shown(dicom(row(0, 128, 255, dtype=np.uint8))) == [0, 128, 255]
    assert shown(dicom(row(0, 819, 2048, 4095), bits=12)) == [0, 51, 128, 255]  # 819 / 4095 = 0.2; 2048 / 4095 * 255
    # Signed with 12 bits: -2048 to 2047; 0 lies at 2048 / 4095 of it.
    assert shown(dicom(row(-2048, 0, 2047, dtype=np.int16), bits=12)) == [0, 128, 255]


def test_the_range_goes_through_the_rescaling_also_where_the_slope_is_negative() -> None:
    rescaled = dicom(row(0, 819, 4095), bits=12, RescaleSlope="2", RescaleIntercept="-1000")
    assert shown(rescaled) == [0, 51, 255]
    assert shown(dicom(row(0, 819, 4095), bits=12, RescaleSlope="-1", RescaleIntercept="0")) == [255, 204, 0]


def test_a_linear_window_follows_the_standards_formula() -> None:
    # Example of C.11.2.1.2.1: centre 2048, width 4096: y = ((x - 2047.5) / 4095 + 0.5) * 255.
    wide = dicom(row(0, 1000, 2048, 4095), bits=12, WindowCenter="2048", WindowWidth="4096")
    assert shown(wide) == [0, 62, 128, 255]  # 1000 * 255 / 4095 = 62.27
    # Centre 0, width 100: x <= -50 black, x > 49 white (the standard's second example).
    narrow = dicom(row(-51, -50, 0, 49, 50, dtype=np.int16), WindowCenter="0", WindowWidth="100")
    assert shown(narrow) == [0, 0, math.floor((0.5 / 99 + 0.5) * 255 + 0.5), 255, 255]
    threshold = dicom(row(-1, 0, 1, dtype=np.int16), WindowCenter="0", WindowWidth="1")
    assert shown(threshold) == [0, 255, 255]  # the standard's third example: x <= -0.5 black


def test_the_window_is_in_rescaled_units_and_the_first_of_several_counts() -> None:
    # A CT: 1024 stored is 0 HU; the window from -160 to 240 HU.
    ct = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": ["40", "-600"]}
    seen = shown(dicom(row(0, 1024, 1064, 1300), bits=12, WindowWidth=["400", "1500"], **ct))
    at_0 = ((0 - 39.5) / 399 + 0.5) * 255
    at_40 = ((40 - 39.5) / 399 + 0.5) * 255
    assert seen == [0, math.floor(at_0 + 0.5), math.floor(at_40 + 0.5), 255]


@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("LINEAR_EXACT", [(x - 100) / 50 + 0.5 for x in (75, 90, 100, 125)]),
        ("SIGMOID", [1 / (1 + math.exp(-4 * (x - 100) / 50)) for x in (75, 90, 100, 125)]),
    ],
)
def test_exact_and_sigmoid_windows_follow_their_formulas(function: str, values: list[float]) -> None:
    data = dicom(row(75, 90, 100, 125, dtype=np.uint8), WindowCenter="100", WindowWidth="50", VOILUTFunction=function)
    assert shown(data) == [math.floor(255 * value + 0.5) for value in values]


def test_a_voi_table_is_looked_up_in_place_of_a_window() -> None:
    table = Elements()
    table.LUTDescriptor = [4, 10, 8]  # four entries, the first for value 10, of 8 bits
    table.LUTData = np.array([0, 200, 100, 255], dtype="<u2").tobytes()
    data = dicom(row(9, 11, 12, 99), VOILUTSequence=[table], WindowCenter="0", WindowWidth="1")
    assert shown(data) == [0, 200, 100, 255]


def test_a_modality_table_is_looked_up() -> None:
    table = Elements()
    table.LUTDescriptor = [4, 0, 16]
    table.LUTData = np.array([65535, 0, 13107, 32768], dtype="<u2").tobytes()
    assert shown(dicom(row(0, 1, 2, 3), ModalityLUTSequence=[table])) == [255, 0, 51, 128]


def test_monochrome1_is_inverted() -> None:
    data = dicom(row(0, 51, 255, dtype=np.uint8), PhotometricInterpretation="MONOCHROME1")
    assert shown(data) == [255, 204, 0]


def test_bits_beyond_those_stored_are_no_part_of_the_value() -> None:
    assert shown(dicom(row(0xF000, 0x3333, 0x0FFF), bits=12)) == shown(dicom(row(0, 0x333, 0xFFF), bits=12))


def test_colours_come_back_in_rgb() -> None:
    rgb = np.asarray(picture(3))
    np.testing.assert_array_equal(as_array(decode(dicom(rgb))), rgb)
    planes = dicom(np.ascontiguousarray(rgb.transpose(2, 0, 1)).reshape(rgb.shape), PlanarConfiguration=1)
    np.testing.assert_array_equal(as_array(decode(planes)), rgb)
    # PS3.3 C.7.6.3.1.2, YBR_FULL: red (255, 0, 0) is Y 76, CB 85, CR 255.
    ybr = np.array([[[76, 85, 255], [128, 128, 128]]], dtype=np.uint8)
    seen = as_array(decode(dicom(ybr, PhotometricInterpretation="YBR_FULL")))
    np.testing.assert_allclose(seen[0], [[255, 0, 0], [128, 128, 128]], atol=2)


def test_a_palette_is_looked_up() -> None:
    elements: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, values in {"Red": (0, 65535, 13107), "Green": (0, 0, 26214), "Blue": (65535, 0, 0)}.items():
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = np.array(values, dtype="<u2").tobytes()
    seen = as_array(decode(dicom(row(0, 1, 2, dtype=np.uint8), **elements)))
    assert seen[0].tolist() == [[0, 0, 255], [255, 0, 0], [51, 102, 0]]


def test_of_several_frames_the_first_is_read() -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(as_array(decode(dicom(frames, NumberOfFrames=2)))[..., 0], frames[0])


def test_a_compressed_file_is_decompressed() -> None:
    buffer, smooth = io.BytesIO(), np.linspace(0, 255, 64 * 48, dtype=np.uint8).reshape(48, 64)
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    data = dicom(smooth, syntax=JPEGBaseline8Bit, PixelData=encapsulate([buffer.getvalue()]))
    np.testing.assert_array_equal(as_array(decode(data))[..., 0], np.asarray(Image.open(buffer)))


def test_what_cannot_be_decompressed_says_what_could() -> None:
    pixels = encapsulate([b"anything"])
    lossless = refused(dicom(row(1, 2), syntax=JPEGLossless, PixelData=pixels))
    assert "JPEG Lossless" in lossless
    assert "pip install 'pylibjpeg[all]'" in lossless
    assert len(lossless) <= 120, "a scan keeps as many bytes of it"
    assert "MPEG2" in refused(dicom(row(1, 2), syntax=MPEG2MPML, PixelData=pixels))


@pytest.mark.filterwarnings("ignore")
def test_damage_is_named_and_nothing_else_escapes() -> None:
    whole = dicom(np.asarray(picture(1).convert("L")), WindowCenter="100", WindowWidth="100", PatientID="x")
    assert "it is a damaged DICOM file" in refused(whole[:-100])
    assert "over the limit of 100" in refused(whole, max_pixels=100)
    assert "floating-point" in refused(_floats())
    assert "damaged" in refused(dicom(row(1, 2), WindowCenter="5", WindowWidth="0"))
    assert "damaged" in refused(dicom(row(1, 2), WindowCenter="5", WindowWidth="5", VOILUTFunction="CUBIC"))
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(132, 900, size=4):
            damaged[at] = rng.integers(0, 256)
        with contextlib.suppress(Undecodable):
            assert decode(bytes(damaged), max_pixels=10_000).mode == "RGB"


def _floats() -> bytes:
    header = pydicom.dcmread(io.BytesIO(dicom(np.zeros((2, 2), np.uint8))))
    del header.PixelData
    header.FloatPixelData = np.zeros((2, 2), np.float32).tobytes()
    buffer = io.BytesIO()
    header.save_as(buffer)
    return buffer.getvalue()


def test_without_pydicom_the_error_names_the_file_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = wards(tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"Reading .*\.dcm, a DICOM file, needs the package 'pydicom'") as caught:
        list(scan(open_dataset(folder), ScanMemory(tmp_path / "memory"), workers=1))
    assert caught.value.fix == "pip install 'regraft[dicom]'"


def wards(root: Path, patient: str = "P{}", ending: str = ".dcm") -> Path:
    """Two classes of ten files, two files a patient; patients of a class are its own."""
    for label in ("ill", "well"):
        for at in range(10):
            stored = np.asarray(picture(100 * len(label) + at).convert("L"))
            dicom_at(root / label / f"{at}{ending}", stored, PatientID=patient.format(f"{label}{at // 2}"))
    return root


def scanned(dataset: Dataset, memory: ScanMemory) -> Scanned:
    found = list(scan(dataset, memory))[-1]
    assert isinstance(found, Scanned)
    return found


@pytest.mark.parametrize("ending", [".dcm", ".DCM", "", ".1.2.840.7"])
def test_files_are_found_with_and_without_ending(tmp_path: Path, ending: str) -> None:
    (wards(tmp_path, ending=ending) / "ill" / "README").write_text("no picture")
    dataset = open_dataset(tmp_path)
    assert dataset.num_examples == 20
    assert "1 file of unknown type left out" in dataset.notes[0].text


def test_patients_are_groups_that_no_division_parts(tmp_path: Path) -> None:
    memory = ScanMemory(tmp_path / "memory")
    found = scanned(open_dataset(wards(tmp_path / "files")), memory)
    assert found.dataset.groups is not None
    assert found.dataset.groups.tolist() == [at // 2 for at in range(20)]
    assert "Grouped by the 10 patients" in found.notes[0].text
    assert not any("ill0" in str(example.group) for example in found.dataset.examples), "the id itself is kept"
    parts = draw(found.dataset, found, seed=0)
    assert len(set(parts.groups.tolist())) == 10
    again = scanned(open_dataset(tmp_path / "files"), memory)
    assert again.dataset.fingerprint == found.dataset.fingerprint


def test_groups_that_the_user_gave_stay(tmp_path: Path) -> None:
    dataset = open_dataset(wards(tmp_path / "files"), group_pattern=r"(ill|well)")
    found = scanned(dataset, ScanMemory(tmp_path / "memory"))
    assert {example.group for example in found.dataset.examples} == {"ill", "well"}
    assert found.notes == ()


@pytest.mark.parametrize(("patient", "words"), [("ANONYMOUS", "contain 1 patient ID, but one is not enough"), ("", "")])
def test_an_id_that_tells_nobody_apart_groups_nothing(tmp_path: Path, patient: str, words: str) -> None:
    found = scanned(open_dataset(wards(tmp_path / "files", patient)), ScanMemory(tmp_path / "memory"))
    assert found.dataset.groups is None
    assert words in " ".join(note.text for note in found.notes)


def test_beside_other_pictures_nothing_is_grouped_and_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    folder = wards(tmp_path / "files")
    (folder / "ill" / "broken.jpg").write_bytes(b"no picture")
    found = scanned(open_dataset(folder), ScanMemory(tmp_path / "memory"))
    assert found.dataset.groups is not None
    assert found.dataset.examples[-1].group is not None
    picture(7).save(folder / "ill" / "photo.png")
    found = scanned(open_dataset(folder), ScanMemory(tmp_path / "memory"))
    assert found.dataset.groups is None
    assert "1 other image has none" in found.notes[0].text


def test_what_decodes_names_pydicom_only_where_dicom_files_are(tmp_path: Path) -> None:
    memory = ScanMemory(tmp_path / "memory")
    found = scanned(open_dataset(wards(tmp_path / "files")), memory)
    assert found.reader == decoder(dicom=True)
    assert f"pydicom-{pydicom.__version__}" in found.reader
    for label in ("ill", "well"):
        for at in range(2):
            path = tmp_path / "others" / label / f"{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(at).save(path)
    assert scanned(open_dataset(tmp_path / "others"), memory).reader == decoder()
    assert "pydicom" not in decoder()


def test_another_reader_reads_again_what_this_one_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, folder = ScanMemory(tmp_path / "memory"), wards(tmp_path / "files")
    dicom_at(folder / "ill" / "x.dcm", row(1, 2), syntax=JPEGLossless, PixelData=encapsulate([b"anything"]))
    for path in folder.rglob("*.dcm"):
        _aged(path)
    first = scanned(open_dataset(folder), memory)
    assert len(first.quarantined) == 1
    counted: list[Path] = []
    measure = _measure.measure
    monkeypatch.setattr(
        "regraft.modalities.image.modality.measure", lambda path, most: counted.append(path) or measure(path, most)
    )
    scanned(open_dataset(folder), memory)
    assert counted == []
    monkeypatch.setattr(_dicom, "REVISION", "dicom-of-tomorrow")
    _measure.dicom_reader.cache_clear()
    scanned(open_dataset(folder), memory)
    _measure.dicom_reader.cache_clear()
    assert len(counted) == 21


def _aged(path: Path) -> None:
    os.utime(path, (1_600_000_000, 1_600_000_000))
