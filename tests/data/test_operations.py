"""RandAugment's operations: torchvision's own, at every strength."""

from importlib import import_module
from itertools import repeat
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageFilter

from regraft.modalities.image.rand_augment import OPERATIONS, rand_augment
from regraft.nn.torchvision import torchvision_models

STRENGTHS = (-1.0, -0.43, -0.1, 0.0, 0.2, 0.3, 0.77, 1.0)
NAMES = {"colour": "Color", "autocontrast": "AutoContrast", "posterise": "Posterize", "solarise": "Solarize",
         "equalise": "Equalize"}  # fmt: skip
"""torchvision's names of those that it calls otherwise."""


def picture() -> Image.Image:
    """Smooth fields of limited range with noise: no channel has every value, so that all operations show."""
    random = np.random.default_rng(0)
    down, across = np.mgrid[0:40, 0:56]
    field = np.stack([across * 3 + 20, down * 4 + 30, (across + down) * 2 + 10], axis=2)
    noisy = Image.fromarray((field + random.integers(0, 30, field.shape)).astype(np.uint8))
    return noisy.filter(ImageFilter.BoxBlur(1))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    torchvision_models()  # imports torchvision where its compiled operators are missing, too
    return import_module("torchvision.transforms.autoaugment")


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions(name: str, strength: float, reference: ModuleType) -> None:
    theirs = NAMES.get(name, "".join(word.capitalize() for word in name.split("_")))
    given = picture()
    space = reference.RandAugment()._augmentation_space(31, (given.height, given.width))
    magnitudes, signed = space[theirs]
    largest = magnitudes[-1].item() if magnitudes.ndim else 0.0
    magnitude = largest * strength if signed else 0.0
    if theirs == "Posterize":
        magnitude = 8 - round((8 - largest) * abs(strength))
    elif theirs == "Solarize":
        magnitude = 255.0 * (1 - abs(strength))
    bilinear = reference.InterpolationMode.BILINEAR
    expected = reference._apply_op(given, theirs, magnitude, interpolation=bilinear, fill=[128.0] * 3)
    found = np.asarray(OPERATIONS[name](given, strength)).astype(int)
    # torchvision goes by way of an angle, whose tangent is off in the last digit, and then moves by a whole turn.
    np.testing.assert_allclose(found, np.asarray(expected).astype(int), atol=1 if "shear" in name else 0)


def test_there_are_torchvisions_operations_and_no_others(reference: ModuleType) -> None:
    space = reference.RandAugment()._augmentation_space(31, (8, 8))
    ours = {NAMES.get(name, "".join(word.capitalize() for word in name.split("_"))) for name in OPERATIONS}
    assert ours == set(space)
    assert next(iter(OPERATIONS)) == "identity"


def test_every_operation_but_the_identity_does_something() -> None:
    given = picture()
    unchanged = {name for name, operation in OPERATIONS.items() if operation(given, 0.6) == given}
    assert unchanged == {"identity"}


def test_strength_grows_evenly_up_to_a_magnitude_of_thirty() -> None:
    turned = rand_augment(picture(), 1, 15.0, iter([5.5 / len(OPERATIONS), 0.0]))
    assert turned == picture().rotate(15.0, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    back = rand_augment(picture(), 1, 30.0, iter([5.5 / len(OPERATIONS), 0.9]))
    assert back == picture().rotate(-30.0, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))


def test_every_operation_is_drawn_as_often_and_one_may_come_twice() -> None:
    draws = iter(np.random.default_rng(1).random(4).tolist())
    assert rand_augment(picture(), 2, 9.0, draws).size == picture().size
    assert next(draws, None) is None, "two numbers are used for an operation"
    twice = rand_augment(picture(), 2, 30.0, repeat(3.5 / len(OPERATIONS)))
    once = OPERATIONS["translate_x"](picture(), 1.0)
    assert twice == OPERATIONS["translate_x"](once, 1.0)


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (30, 2)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_the_size_of_a_tiny_picture(name: str, size: tuple[int, int]) -> None:
    assert OPERATIONS[name](Image.new("RGB", size, (9, 80, 200)), -1.0).size == size
