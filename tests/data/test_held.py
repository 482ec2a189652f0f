"""Views made on a device, of pictures held there."""

import numpy as np
import pytest
import torch
from PIL import Image

from regraft.errors import BadRequest
from regraft.modalities.image.augment import Augmentation
from regraft.modalities.image.on_device import REDUCED, HeldImages
from regraft.modalities.image.prepare import Preparation
from regraft.values import Progress

PREPARATION = Preparation(input_px=(32, 32), resize_px=36)
SIZES = ((24, 20), (20, 31), (40, 28))


def ramp(width: int, height: int) -> Image.Image:
    """Red rises to the right, green downwards: a pixel tells where it comes from."""
    across, down = np.meshgrid(np.linspace(0, 250, width), np.linspace(0, 250, height))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 90)], axis=2).astype(np.uint8))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8))


def held(
    asked: Augmentation, *, seed: int = 1, pictures: list[Image.Image] | None = None, order: tuple[int, ...] = (0, 1, 2)
) -> HeldImages:
    shown = pictures or [ramp(*size) for size in SIZES]
    made = HeldImages(
        shown.__getitem__,
        [f"{at:040x}" for at in (7 << 120, 8 << 120, 9 << 120)],
        PREPARATION,
        asked,
        seed=seed,
        device="cpu",
        workers=2,
    )
    list(made.hold(order))
    return made


def views(pictures: HeldImages, number: int, examples: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    return pictures.batch(np.array(examples), np.full(len(examples), number)).numpy()


CROPS = Augmentation(smallest_share=0.35, horizontal_flip=0.5)


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_without_crops_a_view_is_the_plain_picture_flipped(flip: str) -> None:
    pictures = [noise(*size) for size in SIZES]
    made = views(held(Augmentation(**{flip: 1.0}), pictures=pictures), 1)
    for pixels, picture in zip(made, pictures, strict=True):
        plain = PREPARATION.plain(picture)
        expected = plain[:, ::-1] if flip == "horizontal_flip" else plain[::-1]
        if max(PREPARATION.input_px) > min(picture.size):  # enlarged: no antialiasing in either
            np.testing.assert_allclose(pixels.astype(int), expected.astype(int), atol=1)
        assert abs(pixels.mean() - expected.mean()) < 3


def test_a_view_depends_on_number_seed_and_content_and_on_nothing_else() -> None:
    first = views(held(CROPS), 5)
    np.testing.assert_array_equal(views(held(CROPS, order=(2, 0, 1)), 5), first)
    np.testing.assert_array_equal(views(held(CROPS), 5, (2, 1))[0], first[2])
    same = [ramp(*SIZES[0])] * 3
    contents = views(held(CROPS, pictures=same), 5)
    for other in (views(held(CROPS), 6), views(held(CROPS, seed=2), 5)):
        assert not np.array_equal(other[0], first[0])
    assert not np.array_equal(contents[0], contents[1])


def test_crops_keep_the_share_of_the_area_that_was_asked_for_and_reach_everywhere() -> None:
    pictures, shares, lefts = held(CROPS), [], []
    for number in range(1, 400):
        pixels = views(pictures, number, (2,))[0].astype(float)
        across = abs(pixels[:, -1, 0].mean() - pixels[:, 0, 0].mean()) / 250
        down = abs(pixels[-1, :, 1].mean() - pixels[0, :, 1].mean()) / 250
        shares.append(across * down)
        lefts.append(min(pixels[:, -1, 0].mean(), pixels[:, 0, 0].mean()))
    shares = np.array(shares) / (31 / 32) ** 2
    assert 0.29 < shares.min() < 0.42
    assert 0.80 < shares.max() < 1.08
    assert 0.55 < shares.mean() < 0.75
    assert min(lefts) < 5
    assert max(lefts) > 80


def test_tones_and_greyscale_are_those_asked_for() -> None:
    toned = held(Augmentation(brightness=0.5, greyscale=1.0))
    brightness = []
    for number in range(1, 200):
        pixels = views(toned, number, (0,))[0].astype(int)
        assert (pixels[..., 0] == pixels[..., 1]).all()
        assert (pixels[..., 1] == pixels[..., 2]).all()
        brightness.append(pixels.mean())
    grey = (np.asarray(ramp(*SIZES[0])) @ np.array([0.299, 0.587, 0.114])).mean()
    assert min(brightness) / grey == pytest.approx(0.5, abs=0.06)
    assert max(brightness) / grey == pytest.approx(1.5, abs=0.1)
    flat = views(held(Augmentation(contrast=0.9)), 3, (0,))[0].astype(float)
    plain = PREPARATION.plain(ramp(*SIZES[0])).astype(float)
    assert flat.std() != pytest.approx(plain.std(), rel=0.01)


def test_large_pictures_are_held_reduced_and_the_same_places_are_seen() -> None:
    large = held(Augmentation(horizontal_flip=1.0), pictures=[ramp(400, 300)] * 3)
    assert len(large._pixels) == 3 * round(400 * REDUCED * 32 / 300) * round(REDUCED * 32)
    expected = PREPARATION.plain(ramp(400, 300))[:, ::-1]
    np.testing.assert_allclose(views(large, 1)[0].astype(int), expected.astype(int), atol=3)


def test_holding_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.modalities.image.on_device._TELL_S", 0.0)
    pictures = HeldImages(
        lambda at: ramp(*SIZES[at]), ["a" * 40] * 3, PREPARATION, CROPS, seed=0, device="cpu", workers=1
    )
    events = list(pictures.hold(range(3)))
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]


def test_more_than_the_device_has_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = HeldImages(
        lambda at: ramp(*SIZES[at]), ["a" * 40] * 3, PREPARATION, CROPS, seed=0, device="cpu", workers=1
    )
    monkeypatch.setattr(pictures, "_device", "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5000, 10000))
    with pytest.raises(BadRequest, match=r"GB are free on cuda"):
        list(pictures.hold(range(3)))


def test_what_is_not_held_and_plain_views_are_no_business_of_the_device() -> None:
    pictures = held(CROPS, order=(0, 1))
    for examples, number in (((2,), 1), ((0,), 0)):
        with pytest.raises(ValueError, match="plain, or of an example that is not loaded"):
            views(pictures, number, examples)
