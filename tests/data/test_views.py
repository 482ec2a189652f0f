"""Views: pure functions of seed, number and content."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.errors import BadRecipe, UnknownName
from regraft.modalities.image.augment import PRESETS, Augmentation, preset, view
from regraft.modalities.image.prepare import Preparation

SRC = str(Path(regraft.__file__).parents[1])
PREPARATION = Preparation(input_px=(32, 32), resize_px=36)


def ramp(width: int = 80, height: int = 60) -> Image.Image:
    """Red rises to the right, green downwards: a pixel tells where it comes from."""
    across, down = np.meshgrid(np.linspace(0, 250, width), np.linspace(0, 250, height))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 90)], axis=2).astype(np.uint8))


def made(number: int, *, seed: int = 1, content: str = "a", name: str = "default") -> np.ndarray:
    return view(ramp(), PREPARATION, PRESETS[name], number=number, seed=seed, content=content)


@pytest.mark.parametrize("name", PRESETS)
def test_view_zero_is_the_plain_picture(name: str) -> None:
    np.testing.assert_array_equal(made(0, name=name), PREPARATION.plain(ramp()))


def test_a_view_depends_on_number_seed_and_content_and_on_nothing_else() -> None:
    first = made(1)
    np.testing.assert_array_equal(made(1), first)
    for other in (made(2), made(1, seed=2), made(1, content="b")):
        assert not np.array_equal(other, first)


@pytest.mark.parametrize("name", ["colour", "strong"])
def test_a_view_is_the_same_in_another_process(name: str) -> None:
    script = """
import numpy as np
from PIL import Image
from regraft.modalities.image.prepare import Preparation
from regraft.modalities.image.augment import preset, view
image = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))
prepared = view(image, Preparation(input_px=(32, 32), resize_px=36), preset("NAME"), number=3, seed=7, content="x")
print(prepared.tobytes().hex())
"""
    there = subprocess.run(
        [sys.executable, "-c", script.replace("NAME", name)],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    image = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))
    here = view(image, PREPARATION, preset(name), number=3, seed=7, content="x")
    assert here.tobytes().hex() == there


def test_crops_keep_the_share_of_the_area_that_was_asked_for() -> None:
    shares = []
    for number in range(1, 200):
        pixels = made(number).astype(float)
        across = abs(pixels[:, -1, 0].mean() - pixels[:, 0, 0].mean()) / 250
        down = abs(pixels[-1, :, 1].mean() - pixels[0, :, 1].mean()) / 250
        shares.append(across * down)
    # The outermost columns of a prepared picture are half an output pixel inside the crop: (31 / 32) squared.
    shares = np.array(shares) / (31 / 32) ** 2
    assert 0.31 < shares.min() < 0.42
    assert 0.80 < shares.max() < 1.05
    assert 0.55 < shares.mean() < 0.75


def test_half_of_the_views_are_flipped() -> None:
    flipped = [made(number)[16, 0, 0] > made(number)[16, -1, 0] for number in range(1, 301)]
    assert 0.4 < np.mean(flipped) < 0.6


def test_flips_alone_show_the_plain_picture_in_four_ways() -> None:
    plain = PREPARATION.plain(ramp())
    ways = {a.tobytes() for a in (plain, plain[:, ::-1], plain[::-1], plain[::-1, ::-1])}
    assert {made(number, name="flips").tobytes() for number in range(1, 60)} == ways


def test_tones_change_by_no_more_than_asked() -> None:
    grey = Image.new("RGB", (40, 40), (100, 100, 100))
    tones = Augmentation(brightness=0.2)
    seen = [view(grey, PREPARATION, tones, number=k, seed=0, content="c")[0, 0, 0] for k in range(1, 100)]
    assert 80 <= min(seen) < 85
    assert 115 < max(seen) <= 120


def test_contrast_keeps_the_mean_grey() -> None:
    pixels = np.full((40, 40, 3), 80, dtype=np.uint8)
    pixels[:, 20:] = 120
    contrast = Augmentation(contrast=0.5)
    spreads = []
    for k in range(1, 50):
        seen = view(Image.fromarray(pixels), PREPARATION, contrast, number=k, seed=0, content="c").astype(float)
        assert seen.mean() == pytest.approx(100, abs=1)
        spreads.append(seen[0, -1, 0] - seen[0, 0, 0])
    assert 20 <= min(spreads) < 25
    assert 55 < max(spreads) <= 60


def test_as_many_views_are_grey_as_asked_and_as_grey_as_pillow_makes_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    greyscale, grey = Augmentation(greyscale=0.3), 0
    for k in range(1, 400):
        seen = view(Image.fromarray(pixels), PREPARATION, greyscale, number=k, seed=0, content="c")
        coloured = PREPARATION.plain(Image.fromarray(pixels))
        if np.array_equal(seen, coloured):
            continue
        grey += 1
        expected = np.asarray(Image.fromarray(coloured).convert("L"), dtype=int)[..., None]
        assert np.abs(seen - expected).max() <= 1, "Pillow rounds down"
    assert 90 <= grey <= 150


def test_greyscale_leaves_crops_and_flips_alone() -> None:
    """On a grey picture the views with and without it are the same, though their keys differ."""
    ramp_l = Image.fromarray(np.asarray(ramp().convert("L"))).convert("RGB")
    with_it = preset("default", {"greyscale": 1.0})
    assert with_it.digest_fields() != PRESETS["default"].digest_fields()
    for k in range(1, 20):
        ours = [view(ramp_l, PREPARATION, one, number=k, seed=0, content="c") for one in (with_it, PRESETS["default"])]
        np.testing.assert_array_equal(*ours)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2)])
def test_tiny_and_thin_pictures_have_views(size: tuple[int, int]) -> None:
    pixels = view(Image.new("RGB", size), PREPARATION, PRESETS["default"], number=1, seed=0, content="c")
    assert pixels.shape == (32, 32, 3)


def test_only_what_varies_needs_more_than_one_view() -> None:
    assert {name for name, one in PRESETS.items() if one.varies} == {"default", "colour", "flips", "strong"}
    assert not Augmentation(ratio=2.0, magnitude=20.0).varies


def test_every_preset_has_its_own_key() -> None:
    assert len({str(one.digest_fields()) for one in PRESETS.values()}) == len(PRESETS)


def test_every_field_that_changes_a_view_changes_the_key() -> None:
    fields = {"smallest_share": 0.5, "ratio": 1.2, "horizontal_flip": 0.4, "vertical_flip": 0.1, "brightness": 0.1,
              "contrast": 0.1, "greyscale": 0.2, "operations": 3, "magnitude": 9.5}  # fmt: skip
    keys = [preset("strong", {name: value}).digest_fields() for name, value in fields.items()]
    keys += [PRESETS["strong"].digest_fields(), PRESETS["default"].digest_fields()]
    keys.append(preset("default", {"on_device": True}).digest_fields())
    assert len({str(key) for key in keys}) == len(fields) + 3
    assert {*fields, "on_device"} == asdict(PRESETS["strong"]).keys()


def test_operations_on_one_picture_at_a_time_are_not_to_be_had_on_the_device() -> None:
    with pytest.raises(BadRecipe, match=r"augment\.operations is 2"):
        preset("strong", {"on_device": True})


def test_a_magnitude_without_operations_leaves_the_key_and_the_view_alone() -> None:
    changed = preset("default", {"magnitude": 20})
    assert changed.digest_fields() == PRESETS["default"].digest_fields()
    seen = view(ramp(), PREPARATION, changed, number=1, seed=1, content="a")
    np.testing.assert_array_equal(seen, made(1))


def test_a_strong_view_is_the_default_one_with_drawn_operations_after() -> None:
    """The views of both presets begin with the same crop and flip, so those that drew the identity twice are equal."""
    equal = [np.array_equal(made(number, name="strong"), made(number)) for number in range(1, 400)]
    # 1 in 196 draws the identity twice; shifts and shears may also uncover nothing, but never on a whole ramp.
    assert 0 < sum(equal) < 20
    same = preset("default", {"operations": 2})
    np.testing.assert_array_equal(
        view(ramp(), PREPARATION, same, number=3, seed=1, content="a"), made(3, name="strong")
    )


def test_a_magnitude_of_nought_leaves_colours_and_places_as_they_are() -> None:
    """Autocontrast and equalising have no strength, and solarising begins at white: on a ramp from 0 to 250 nothing."""
    weak = preset("flips", {"operations": 1, "magnitude": 0})
    seen = [view(ramp(), PREPARATION, weak, number=k, seed=1, content="a") for k in range(1, 60)]
    plain = PREPARATION.plain(ramp())
    ways = {a.tobytes() for a in (plain, plain[:, ::-1], plain[::-1], plain[::-1, ::-1])}
    assert np.mean([one.tobytes() in ways for one in seen]) > 0.7


@pytest.mark.parametrize("changes", [{"operations": -1}, {"magnitude": 31}, {"operation": 2}, {"operations": "two"}])
def test_a_change_of_an_augmentation_is_checked(changes: dict[str, object]) -> None:
    with pytest.raises(BadRecipe, match=r"operation|magnitude"):
        preset("strong", changes)


def test_an_unknown_preset_is_offered_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'colour'"):
        preset("color")


def test_a_probability_above_one_is_refused() -> None:
    with pytest.raises(BadRecipe, match="horizontal_flip is"):
        Augmentation(horizontal_flip=1.5)
