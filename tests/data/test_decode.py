"""The decoder: what it makes of odd pictures, and what it refuses."""

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from regraft.errors import Undecodable
from regraft.modalities.image.decode import decode
from regraft.modalities.image.planes import as_array


def textured(width: int = 40, height: int = 24, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    return caught.value.reason


def test_a_lossless_picture_comes_back_exactly(tmp_path: Path) -> None:
    image = textured()
    path = tmp_path / "žluťoučký 画像.png"
    image.save(path)
    np.testing.assert_array_equal(as_array(decode(path)), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_rotated_photo_is_turned_upright(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(textured(), form, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(as_array(decode(data)), np.asarray(expected))
    assert (decode(data).width > decode(data).height) == (orientation <= 4)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_rotation_that_cannot_be_read_is_none() -> None:
    plain = saved(textured(), "JPEG")
    data = plain[:2] + b"\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff" + plain[2:]
    np.testing.assert_array_equal(as_array(decode(data)), as_array(decode(plain)))


def test_grey_becomes_three_equal_channels() -> None:
    grey = textured().convert("L")
    pixels = as_array(decode(saved(grey, "PNG")))
    np.testing.assert_array_equal(pixels, np.repeat(np.asarray(grey)[..., None], 3, axis=2))


def test_palette_and_black_and_white_keep_their_colours() -> None:
    palette = textured().quantize(16)
    np.testing.assert_array_equal(as_array(decode(saved(palette, "GIF"))), np.asarray(palette.convert("RGB")))
    bits = textured().convert("1")
    np.testing.assert_array_equal(as_array(decode(saved(bits, "PNG"))), np.asarray(bits.convert("RGB")))


def test_what_is_transparent_becomes_white() -> None:
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[:, 1] = (200, 100, 0, 255)
    pixels[:, 2] = (200, 100, 0, 51)
    decoded = as_array(decode(saved(Image.fromarray(pixels, "RGBA"), "PNG")))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[0, 1].tolist() == [200, 100, 0]
    np.testing.assert_allclose(decoded[0, 2], [244, 224, 204], atol=1)


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = as_array(decode(saved(image, "PNG", transparency=0)))
    assert decoded[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    decoded = as_array(decode(saved(Image.fromarray(values), "PNG")))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_becomes_rgb() -> None:
    data = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    np.testing.assert_allclose(as_array(decode(data))[4, 4], [255, 0, 0], atol=3)


def test_an_animation_gives_its_first_frame() -> None:
    first, second = textured(seed=1).quantize(8), textured(seed=2).quantize(8)
    data = saved(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(as_array(decode(data)), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_file_that_is_cut_off_is_refused(form: str, share: float) -> None:
    whole = saved(textured(160, 120), form)
    decode(whole)
    assert reason(whole[: int(len(whole) * share)])


def test_a_file_is_refused_whole_even_where_the_process_allows_half() -> None:
    whole = saved(textured(160, 120), "JPEG")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        assert "truncated" in reason(whole[: len(whole) // 2])
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def test_a_download_padded_with_zeros_is_refused() -> None:
    whole = saved(textured(160, 120), "JPEG")
    assert reason(whole[: len(whole) // 2] + bytes(len(whole) // 2))


def test_a_png_whose_checksum_fails_is_refused() -> None:
    data = bytearray(saved(textured(), "PNG", compress_level=0))
    data[len(data) // 2] ^= 0x01
    assert reason(bytes(data)) == "the checksum of its IDAT part is wrong"


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_header_that_announces_two_gigabytes_is_refused_before_anything_is_unpacked() -> None:
    assert reason(huge_png(30_000, 24_000)) == (
        "its header declares 30000 x 24000 pixels, over the limit of 89,478,485 set by REGRAFT_MAX_PIXELS"
    )


def test_the_limit_is_settable_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(textured(40, 24), "PNG")
    assert "over the limit of 959" in reason(data, max_pixels=959)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(data, max_pixels=960).size == (40, 24)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>not found</html>", "markup"),
        (bytes(500), "only zeros"),
        (b"hello there, no picture", "not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript"),
    ],
)
def test_what_is_no_picture_is_named_for_what_it_is(data: bytes, words: str) -> None:
    assert words in reason(data)


def test_floating_point_pixels_are_refused() -> None:
    data = saved(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF")
    assert "floating-point" in reason(data)


def test_the_error_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"nothing of use")
    with pytest.raises(Undecodable, match=r"broken\.jpg cannot be decoded") as caught:
        decode(path)
    assert caught.value.fix
    with pytest.raises(Undecodable, match="cannot be read"):
        decode(tmp_path / "missing.jpg")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_no_damage_escapes_as_another_error(form: str) -> None:
    whole = saved(textured(), form)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 300), size=4):
            damaged[at] = rng.integers(0, 256)
        try:
            assert decode(bytes(damaged), max_pixels=10_000).mode == "RGB"
        except Undecodable:
            refused += 1
    assert refused > 0


def test_threads_decode_alike() -> None:
    data = saved(textured(200, 150), "JPEG")
    expected, seen = as_array(decode(data)).tobytes(), []
    threads = [threading.Thread(target=lambda: seen.append(as_array(decode(data)).tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 8
