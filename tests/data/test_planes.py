"""Pictures of any number of channels: arrays in files, and what Pillow reads as one, three or four."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.pictures import picture
from data.raw import tiff
from regraft.data.open import open_dataset
from regraft.data.scan import ScanMemory, Scanned, scan
from regraft.data.splits import clusters
from regraft.errors import Undecodable
from regraft.modalities.image.augment import Augmentation, view
from regraft.modalities.image.decode import decode
from regraft.modalities.image.planes import Planes, as_array, fits
from regraft.modalities.image.prepare import Preparation


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(data, **options)
    return caught.value.reason


@pytest.mark.parametrize("channels", [2, 4, 5, 13])
def test_an_array_comes_back_channel_by_channel(channels: int) -> None:
    array = noise(7, 9, channels)
    np.testing.assert_array_equal(as_array(decode(npy(array), channels=channels)), array)
    np.testing.assert_array_equal(as_array(decode(npy(np.asfortranarray(array)), channels=0)), array)


def test_arrays_of_one_or_three_channels_are_grey_and_colour() -> None:
    grey, colour = noise(7, 9), noise(7, 9, 3)
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(as_array(decode(npy(array))), np.repeat(grey[..., None], 3, axis=2))
        np.testing.assert_array_equal(as_array(decode(npy(array), channels=1)), grey[..., None])
    np.testing.assert_array_equal(as_array(decode(npy(colour))), colour)


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    array = np.array([[[0, 257], [32768, 65535]]], dtype=np.uint16)
    assert as_array(decode(npy(array), channels=2)).tolist() == [[[0, 1], [128, 255]]]


def test_colour_in_one_channel_is_weighed_by_itu_r_601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    found = as_array(decode(png(Image.fromarray(colours)), channels=1))
    assert found[..., 0].tolist() == [[76, 150, 29, 90]]  # 0.299, 0.587, 0.114 of 255


def test_transparency_is_the_fourth_channel_where_four_are_asked_for() -> None:
    four = noise(5, 6, 4)
    np.testing.assert_array_equal(as_array(decode(png(Image.fromarray(four, "RGBA")), channels=4)), four)
    opaque = as_array(decode(png(picture(1)), channels=4))
    np.testing.assert_array_equal(opaque[..., :3], np.asarray(picture(1)))
    assert (opaque[..., 3] == 255).all()


def test_a_fourth_band_that_would_be_lost_is_refused_and_not_lost() -> None:
    bands = noise(4, 4, 4)
    np.testing.assert_array_equal(as_array(decode(tiff(bands, 2, extra=(2,)), channels=4)), bands)
    assert "fourth band" in refused(tiff(bands, 2, extra=(0,)), channels=4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(noise(7, 9, 5))[:-1], "truncated"),
        (npy(noise(7, 9, 5)) + b"x", "longer than its header declares"),
        (b"\x93NUMPY\x01\0", "header"),
        (npy(noise(7, 9, 5).astype(np.float32)), "uint8 or uint16"),
        (npy(noise(7)), "(height, width, channels)"),
        (npy(noise(0, 9, 5)), "(height, width, channels)"),
        (npy(noise(3, 50, 60)), "channels must come last"),
        (npy(np.array([[object()]], dtype=object)), "uint8 or uint16"),
        (npy(noise(7, 9, 5)), "5 channels; expected 3"),
    ],
)
def test_an_array_that_is_no_picture_is_named_for_what_it_is(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_the_limit_of_pixels_holds_for_arrays() -> None:
    assert "over the limit of 62" in refused(npy(noise(7, 9, 5)), channels=5, max_pixels=62)


def test_a_picture_does_not_go_into_more_channels_than_it_has() -> None:
    assert "3 channels; expected 5" in refused(png(picture(1)), channels=5)
    assert [wanted for wanted in range(1, 7) if fits(3, wanted)] == [1, 3, 4]
    assert [wanted for wanted in range(1, 7) if fits(5, wanted)] == [5]


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_each_channel_is_prepared_as_it_would_be_alone(channels: int, interpolation: str) -> None:
    array = noise(40, 52, channels)
    rule = Preparation(input_px=(16, 16), resize_px=20, interpolation=interpolation)
    found = rule.plain(decode(npy(array), channels=channels))
    assert found.shape == (16, 16, channels)
    for at in range(channels):
        alone = rule.plain(Image.fromarray(np.repeat(array[..., at : at + 1], 3, axis=2)))
        np.testing.assert_array_equal(found[..., at], alone[..., 0])


@pytest.mark.parametrize("channels", [1, 5])
def test_views_of_any_number_of_channels_are_cut_and_toned_alike(channels: int) -> None:
    plane = noise(40, 52, 1)
    rule = Preparation(input_px=(16, 16), resize_px=20)
    change = Augmentation(smallest_share=0.3, horizontal_flip=0.5, brightness=0.3, contrast=0.3, greyscale=0.5)
    grey = decode(npy(np.repeat(plane, 3, axis=2)))
    many = decode(npy(np.repeat(plane, channels, axis=2)), channels=channels)
    for number in range(1, 6):
        expected = view(grey, rule, change, number=number, seed=1, content="x")
        found = view(many, rule, change, number=number, seed=1, content="x")
        assert found.shape == (16, 16, channels)
        assert np.abs(found.astype(int) - expected[..., :1]).max() <= 1, "the mean grey is rounded differently"


def test_a_scan_knows_channels_and_finds_copies_of_arrays(tmp_path: Path) -> None:
    arrays = [np.asarray(Image.fromarray(noise(6, 6, seed=at)).resize((40, 40))) for at in range(4)]
    stacks = {name: np.stack([arrays[at] for at in of], axis=2) for name, of in STACKS.items()}
    for name, stack in stacks.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, stack)
    picture(5).save(tmp_path / "data" / "two" / "photo.png")
    found = list(scan(open_dataset(tmp_path / "data"), ScanMemory(tmp_path / "memory")))[-1]
    assert isinstance(found, Scanned)
    assert found.rows["channels"].tolist() == [5, 5, 5, 5, 3]
    groups = clusters(found)
    assert groups[0] == groups[1], "the same pixels in two files"
    assert len(set(groups[1:].tolist())) == 4
    assert found.usable.all()


STACKS = {
    "one/a.npy": (0, 1, 2, 3, 0),
    "one/b.npy": (0, 1, 2, 3, 0),
    "two/c.npy": (3, 2, 1, 0, 1),
    "two/d.npy": (1, 1, 3, 0, 2),
}


def test_planes_stand_where_a_picture_does() -> None:
    planes = decode(npy(noise(4, 6, 2)), channels=2)
    assert isinstance(planes, Planes)
    assert (planes.width, planes.height, planes.size) == (6, 4, (6, 4))
    assert planes.tobytes() == noise(4, 6, 2).tobytes()
