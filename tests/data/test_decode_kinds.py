"""Kinds of pictures that Pillow can read and not write, byte by byte from the specifications of PNG and TIFF 6.0."""

import io

import numpy as np
import pytest
from PIL import Image

from data.pictures import picture
from data.raw import png, tiff
from regraft.errors import Undecodable
from regraft.modalities.image.decode import decode
from regraft.modalities.image.planes import as_array


def grey(data: bytes) -> list[int]:
    pixels = as_array(decode(data))
    assert (pixels == pixels[..., :1]).all()
    return pixels[0, :, 0].tolist()


RAMP = np.array([[[0], [257], [32768], [65535]]], dtype=np.uint16)
SHOWN = [0, 1, 128, 255]  # value * 255 / 65535, rounded
COLOUR = np.array([[[0, 0x01FF, 0x8000], [0xFFFF, 0x7F80, 0x0000]]], dtype=np.uint16)
UPPER = [[0, 0x01, 0x80], [0xFF, 0x7F, 0x00]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_grey_is_scaled_whatever_holds_it(order: str) -> None:
    assert grey(png(RAMP, 0)) == SHOWN
    assert grey(tiff(RAMP, 1, order=order)) == SHOWN


def test_where_white_is_zero_it_is_shown_white() -> None:
    assert grey(tiff(RAMP, 0)) == [255, 254, 127, 0]
    for order in ("<", ">"):
        assert grey(tiff((RAMP >> 8).astype(np.uint8), 0, order=order)) == [255, 254, 127, 0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_of_sixteen_bit_colour_the_upper_byte_is_kept(order: str) -> None:
    assert as_array(decode(png(COLOUR, 2)))[0].tolist() == UPPER
    assert as_array(decode(tiff(COLOUR, 2, order=order)))[0].tolist() == UPPER


def test_sixteen_bit_transparency_is_laid_on_white() -> None:
    alpha = np.array([[[0], [0xFFFF]]], dtype=np.uint16)
    assert as_array(decode(png(np.concatenate([COLOUR, alpha], axis=2), 6)))[0].tolist() == [[255] * 3, UPPER[1]]
    assert grey(png(np.concatenate([COLOUR[..., 1:2], alpha], axis=2), 4)) == [255, 0x7F]
    laid = as_array(decode(tiff(np.concatenate([COLOUR, alpha], axis=2), 2, extra=(2,))))[0].tolist()
    assert laid == [[255] * 3, UPPER[1]]


def test_cmyk_in_a_tiff_is_ink() -> None:
    inks = np.array([[[0, 255, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0]]], dtype=np.uint8)
    assert as_array(decode(tiff(inks, 5)))[0].tolist() == [[255, 0, 0], [0, 0, 0], [255, 255, 255]]


def test_cmyk_jpegs_are_inverted_as_adobe_writes_them() -> None:
    """Adobe's mark (APP14, `Adobe`) is there, and the stored samples are 255 minus ink."""
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(buffer, "JPEG", quality=100)
    assert b"Adobe" in buffer.getvalue()[:40]
    np.testing.assert_allclose(as_array(decode(buffer.getvalue()))[8, 8], [0, 255, 255], atol=3)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(form: str) -> None:
    first, second, buffer = picture(1), picture(2), io.BytesIO()
    first.save(buffer, form, save_all=True, append_images=[second], **({"lossless": True} if form == "WEBP" else {}))
    assert getattr(Image.open(io.BytesIO(buffer.getvalue())), "n_frames", 1) == 2
    expected = first.quantize() if form == "GIF" else first
    seen = as_array(decode(buffer.getvalue())).astype(int)
    assert np.abs(seen - np.asarray(expected.convert("RGB"))).mean() < 2
    assert np.abs(seen - np.asarray(second)).mean() > 20


def test_of_several_pages_the_first_is_read() -> None:
    buffer = io.BytesIO()
    picture(1).save(buffer, "TIFF", save_all=True, append_images=[picture(2)])
    np.testing.assert_array_equal(as_array(decode(buffer.getvalue())), np.asarray(picture(1)))


@pytest.mark.parametrize(
    ("values", "photometric", "words"),
    [
        (RAMP.astype(np.float32), 1, "floating-point"),
        (RAMP.astype(np.float64), 1, "unsupported kind"),
        (COLOUR.astype(np.float32), 2, "unsupported kind"),
        (np.zeros((2, 2, 7), np.uint8), 1, "unsupported kind"),
        (RAMP.astype(np.uint32) * 70_000, 1, "32-bit values"),
        (np.array([[[-5], [5]]], dtype=np.int16), 1, "outside 0 to 65535"),
    ],
)
def test_a_tiff_of_another_kind_says_what_is_expected(values: np.ndarray, photometric: int, words: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(tiff(values, photometric, extra=(0,) * (values.shape[2] - 3)))
    assert words in caught.value.reason
    assert "8 or 16 bits" in caught.value.reason
