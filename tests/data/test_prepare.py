"""Resizing and cutting: torchvision's rule, computed for the cut only."""

from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from regraft.errors import BadRecipe
from regraft.modalities.image.prepare import Preparation
from regraft.nn.torchvision import torchvision_models

TAPS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def noisy(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def transforms() -> ModuleType:
    torchvision_models()  # imports torchvision where its compiled operators are missing, too
    return import_module("torchvision.transforms.v2")


@pytest.mark.parametrize("size", [(640, 480), (333, 517), (256, 256), (120, 200), (225, 224), (50, 50)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("input_px", "resize_px"), [(224, 256), (64, 73), (96, 96)])
def test_the_plain_picture_is_torchvisions(
    transforms: ModuleType, size: tuple[int, int], interpolation: str, input_px: int, resize_px: int
) -> None:
    image = noisy(*size)
    reference = transforms.Compose(
        [
            transforms.Resize(resize_px, interpolation=TAPS[interpolation], antialias=True),
            transforms.CenterCrop(input_px),
        ]
    )(image)
    ours = Preparation(input_px=(input_px, input_px), resize_px=resize_px, interpolation=interpolation).plain(image)
    off = np.abs(ours.astype(int) - np.asarray(reference).astype(int))
    # Pillow rounds the box to 32-bit floats, which moves a sampling position by up to 1e-5 pixels: on white noise, the
    # worst case, a value that lies within some thousandths of a half rounds the other way; never by more than one.
    assert off.max() <= 1
    assert off.mean() < 0.02


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_tall_picture_is_resized_rows_first_whatever_pillow_would_choose(interpolation: str) -> None:
    image, taps = noisy(100, 300), TAPS[interpolation]
    reference = image.resize((96, 300), taps).resize((96, 288), taps).crop((0, 96, 96, 192))
    ours = Preparation(input_px=(96, 96), resize_px=96, interpolation=interpolation).plain(image)
    off = np.abs(ours.astype(int) - np.asarray(reference).astype(int))
    assert off.max() <= 1
    assert off.mean() < 0.02


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_box_on_whole_pixels_gives_the_full_resize_bit_for_bit(interpolation: str) -> None:
    image = noisy(512, 512)
    full = image.resize((256, 256), TAPS[interpolation]).crop((16, 16, 240, 240))
    ours = Preparation(input_px=(224, 224), resize_px=256, interpolation=interpolation).plain(image)
    np.testing.assert_array_equal(ours, np.asarray(full))


def test_a_picture_of_the_input_size_is_left_as_it_is() -> None:
    image = noisy(96, 96)
    np.testing.assert_array_equal(Preparation(input_px=(96, 96), resize_px=96).plain(image), np.asarray(image))


def test_squash_keeps_the_whole_picture() -> None:
    image = noisy(300, 100)
    ours = Preparation(input_px=(32, 64)).plain(image)
    np.testing.assert_array_equal(ours, np.asarray(image.resize((64, 32), TAPS["bilinear"])))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 200), (200, 3)])
@pytest.mark.parametrize("input_px", [(224, 224), (32, 96), (96, 32)])
def test_small_and_thin_pictures_fill_the_input(size: tuple[int, int], input_px: tuple[int, int]) -> None:
    white = Image.new("RGB", size, (255, 255, 255))
    prepared = Preparation(input_px=input_px, resize_px=24).plain(white)
    assert prepared.shape == (*input_px, 3)
    assert prepared.min() == 255


def test_the_cut_stays_inside_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = (int(side) for side in rng.integers(1, 700, 2))
        side = int(rng.integers(1, 300))
        left, upper, right, lower = Preparation(input_px=(side, side), resize_px=int(side * 1.14)).centre(width, height)
        assert 0 <= left < right <= width * (1 + 1e-12)
        assert 0 <= upper < lower <= height * (1 + 1e-12)
        Preparation(input_px=(side, side), resize_px=int(side * 1.14)).plain(Image.new("RGB", (width, height)))


def test_scaling_keeps_the_share_that_the_centre_crop_shows() -> None:
    scaled = Preparation(input_px=(224, 224), resize_px=256).scaled_to(96)
    assert scaled == Preparation(input_px=(96, 96), resize_px=110)
    assert Preparation(input_px=(224, 224)).scaled_to(96).resize_px == "squash"


def test_it_survives_json_and_every_field_changes_the_key() -> None:
    preparation = Preparation(input_px=(224, 160), resize_px=256, interpolation="bicubic")
    assert Preparation.from_json(preparation.to_json()) == preparation
    others = [
        Preparation(input_px=(160, 224), resize_px=256, interpolation="bicubic"),
        Preparation(input_px=(224, 160), resize_px="squash", interpolation="bicubic"),
        Preparation(input_px=(224, 160), resize_px=256, interpolation="bilinear"),
    ]
    keys = [str(one.digest_fields()) for one in [preparation, *others]]
    assert len(set(keys)) == 4


def test_nonsense_is_refused() -> None:
    with pytest.raises(BadRecipe, match="input_px"):
        Preparation(input_px=(0, 10))
    with pytest.raises(BadRecipe, match="resize_px"):
        Preparation(input_px=(10, 10), resize_px=0)
    with pytest.raises(BadRecipe, match="interpolation"):
        Preparation.from_json({"input_px": [8, 8], "resize_px": 8, "interpolation": "area"})
