"""Image files as programs, scanners and clinics write them: read, or named for what they are, never called damaged."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cases.door import TINY, photo, photos, regraft
from data.dicoms import dicom
from regraft.errors import BadRequest, Undecodable
from regraft.modalities.image.decode import decode
from regraft.modalities.image.modality import ImageModality
from regraft.modalities.image.planes import as_array

PROFILE = bytes(range(256)) * 5000


def reason(data: bytes) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(data)
    return caught.value.reason


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["profile", "text", "xmp", "late"])
def test_k11_a_large_profile_or_text_in_a_png_changes_nothing(kind: str) -> None:
    image, texts = photo(0, 0), PngImagePlugin.PngInfo()
    if kind == "text":
        texts.add_text("Comment", "x" * 3_000_000, zip=True)
        texts.add_itxt("Title", "猫" * 1_000_000, zip=True)
    if kind == "xmp":
        texts.add_itxt("XML:com.adobe.xmp", "<x>" + "y" * 2_000_000 + "</x>", zip=True)
    if kind == "late":
        texts.add(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)), after_idat=True)
    data = saved(image, "PNG", pnginfo=texts, icc_profile=PROFILE if kind == "profile" else None)
    assert np.array_equal(np.asarray(decode(data)), np.asarray(image))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_k11_a_large_profile_in_another_format_changes_nothing(form: str) -> None:
    image = photo(0, 0)
    assert decode(saved(image, form, icc_profile=PROFILE)).tobytes() == decode(saved(image, form)).tobytes()


def without_preamble(data: bytes, *, meta: bool = False) -> bytes:
    """The file as some archives export it: from its first data element on, with the file's own or without."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[132:] if meta else data[144 + length :]


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big endian"])
@pytest.mark.parametrize("meta", [False, True], ids=["bare", "with its header"])
def test_k12_dicom_without_preamble_is_read_as_with_it(syntax: str, meta: bool) -> None:
    uid = pytest.importorskip("pydicom.uid")
    syntaxes = {
        "implicit": uid.ImplicitVRLittleEndian,
        "explicit": uid.ExplicitVRLittleEndian,
        "big endian": uid.ExplicitVRBigEndian,
    }
    stored = np.random.default_rng(0).integers(0, 4096, (24, 20)).astype(np.uint16)
    if syntax == "big endian":
        stored = stored.byteswap()
    whole = dicom(stored, bits=12, syntax=syntaxes[syntax], PatientID="P7", StudyDate="20260101")
    bare = without_preamble(whole, meta=meta)
    assert np.array_equal(as_array(decode(bare)), as_array(decode(whole)))
    assert ImageModality().claims("IM000017", lambda: bare[:256])


def test_k12_dicom_files_without_preamble_are_fitted_and_grouped_by_patient(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for kind, name in enumerate(("ill", "well")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            stored = np.asarray(photo(kind, number).convert("L"))
            data = without_preamble(dicom(stored, PatientID=f"{name}{number // 2}", StudyDate="20260101"))
            (tmp_path / "data" / name / f"{number:03}.dcm").write_bytes(data)
    done = regraft("fit", tmp_path / "data", *TINY, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "Grouped by the 10 patients identified in the DICOM files" in done.err


def test_k12_compressed_pixels_without_the_header_that_says_how_are_named() -> None:
    encaps = pytest.importorskip("pydicom.encaps")
    uid = pytest.importorskip("pydicom.uid")
    jpeg = saved(photo(0, 0).convert("L"), "JPEG")
    whole = dicom(
        np.zeros((40, 40), np.uint8), syntax=uid.JPEGBaseline8Bit, PixelData=encaps.encapsulate([jpeg]),
        StudyDate="20260101",
    )  # fmt: skip
    assert "compressed" in reason(without_preamble(whole))


def test_k12_what_has_neither_preamble_nor_tags_is_no_dicom_whatever_its_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        data = bytes((8, 0, *random.integers(0, 256, 254).tolist()))
        assert not ImageModality().claims("IM1", lambda data=data: data)  # type: ignore[misc]
    (tmp_path / "a.dcm").write_bytes(b"\x08\0 but nothing that follows is a tag")
    with pytest.raises(Undecodable, match=r"known format \(.*DICOM.*\)"):
        decode(tmp_path / "a.dcm")


def test_k15_a_large_scan_is_over_a_limit_that_has_a_name_and_a_setting(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path / "data", 12, first=50)
    Image.new("L", (9500, 9500), 90).save(data / "cat" / "scan.png")
    said = "9500 x 9500 pixels, over the limit of 89,478,485 set by REGRAFT_MAX_PIXELS"
    fitted = regraft("fit", data, *TINY, "--out", tmp_path / "out")
    assert fitted.code == 0, fitted.err
    assert f"1 unreadable file of 25 left out (in no split): cat/scan.png (its header declares {said})." in fitted.err
    predicted = regraft("predict", model, data / "cat" / "scan.png")
    assert (predicted.code, said in predicted.err) == (3, True)
    assert "damaged" not in fitted.err + predicted.err + (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    # The same with less to decode: over a limit that was set, then below a raised one.
    Image.new("L", (1000, 1000), 90).save(data / "cat" / "scan.png")
    monkeypatch.setenv("REGRAFT_MAX_PIXELS", "999999")
    assert "over the limit of 999,999" in regraft("predict", model, data / "cat" / "scan.png").err
    monkeypatch.setenv("REGRAFT_MAX_PIXELS", "1000000")
    again = regraft("fit", data, *TINY, "--out", tmp_path / "again")
    assert (again.code, "left out" in again.err, "on 25 examples" in again.out) == (0, False, True), again.err
    assert regraft("predict", model, data / "cat" / "scan.png").code == 0


def test_k15_the_setting_is_checked_and_a_lower_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(photo(0, 0), "PNG")
    monkeypatch.setenv("REGRAFT_MAX_PIXELS", "1599")
    assert "40 x 40 pixels, over the limit of 1,599" in reason(data)
    monkeypatch.setenv("REGRAFT_MAX_PIXELS", "1600")
    assert decode(data).size == (40, 40)
    monkeypatch.setenv("REGRAFT_MAX_PIXELS", "1e9")
    with pytest.raises(BadRequest, match="REGRAFT_MAX_PIXELS is '1e9'"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(200), "raw camera data"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"8BPS\0\1", "Photoshop"),
        (b'{"error": 404}', "text"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "markup (a web page or SVG)"),
        (bytes(500), "only zeros"),
        (b"", "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_saved_under_the_name_of_an_image_is_named(data: bytes, said: str) -> None:
    assert said in reason(data)


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_of_several_frames_the_first_is_read(form: str) -> None:
    image = photo(0, 0)
    options = {"lossless": True} if form == "WEBP" else {}
    whole = saved(image, form, save_all=True, append_images=[photo(1, 1)], **options)
    assert np.array_equal(as_array(decode(whole)), as_array(decode(saved(image, form, **options))))


def test_a_jpeg_that_lacks_its_last_rows_is_refused() -> None:
    assert "truncated" in reason(saved(photo(0, 0), "JPEG")[:-100])


def test_a_camera_that_was_turned_is_turned_back() -> None:
    wide, turned = photo(0, 0).resize((40, 20)), Image.Exif()
    turned[0x0112] = 6
    assert decode(saved(wide, "JPEG", exif=turned)).size == (20, 40)
