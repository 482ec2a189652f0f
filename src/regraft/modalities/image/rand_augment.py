"""RandAugment's operations on images, at a given strength. `augment` decides how many to draw.

Letters: h and w height and width of the image in pixels.

Source: Cubuk et al. 2019, arXiv:1909.13719. The list and the maximum strengths are torchvision's `RandAugment`: 14
operations, including the identity, on a scale of magnitudes from 0 to 30. Two differences: translation, shear and
rotation interpolate bilinearly, and uncovered areas are the middle grey of the authors' code, whereas torchvision uses
nearest-neighbour interpolation and black. The bits of posterising and the pixels of translation are rounded to integers
in both.
"""

from collections.abc import Callable, Iterator, Mapping
from math import trunc
from types import MappingProxyType
from typing import TYPE_CHECKING

from regraft.modalities.image.augment import MAX_MAGNITUDE
from regraft.modalities.image.planes import PillowImage

if TYPE_CHECKING:
    from PIL.ImageEnhance import _Enhance

_GREY = (128, 128, 128)
_MAX_SHEAR = 0.3
"""Horizontal pixels per vertical pixel, or the reverse."""
_MAX_SHIFT = 150 / 331
"""Share of the side."""
_MAX_TURN = 30.0
"""Degrees."""
_MAX_TONE = 0.9
"""Difference of an enhancement's factor from 1."""
_MAX_LOST_BITS = 4

Operation = Callable[[PillowImage, float], PillowImage]
"""(image in mode RGB, strength in [-1, 1]) -> image of the same size. For operations with two directions the sign gives
the direction; the others use the absolute strength, or none."""


def rand_augment(image: PillowImage, num_operations: int, magnitude: float, draws: Iterator[float]) -> PillowImage:
    """Apply randomly drawn operations with random signs in sequence; an operation may be drawn twice.

    `magnitude` is in [0, 30]. Each operation uses two of `draws`, numbers in [0, 1).
    """
    operations = tuple(OPERATIONS.values())
    for _ in range(num_operations):
        operation = operations[int(next(draws) * len(operations))]
        sign = 1 if next(draws) < 0.5 else -1
        image = operation(image, sign * magnitude / MAX_MAGNITUDE)
    return image


def _identity(image: PillowImage, strength: float) -> PillowImage:
    return image


def _affine(image: PillowImage, *matrix: float) -> PillowImage:
    from PIL import Image

    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _shear_x(image: PillowImage, strength: float) -> PillowImage:
    return _affine(image, 1, _MAX_SHEAR * strength, 0, 0, 1, 0)


def _shear_y(image: PillowImage, strength: float) -> PillowImage:
    return _affine(image, 1, 0, 0, _MAX_SHEAR * strength, 1, 0)


def _translate_x(image: PillowImage, strength: float) -> PillowImage:
    return _affine(image, 1, 0, -trunc(_MAX_SHIFT * image.width * strength), 0, 1, 0)


def _translate_y(image: PillowImage, strength: float) -> PillowImage:
    return _affine(image, 1, 0, 0, 0, 1, -trunc(_MAX_SHIFT * image.height * strength))


def _rotate(image: PillowImage, strength: float) -> PillowImage:
    from PIL import Image

    return image.rotate(_MAX_TURN * strength, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _enhanced(kind: str) -> Operation:
    def enhance(image: PillowImage, strength: float) -> PillowImage:
        from PIL import ImageEnhance

        enhancer: _Enhance = getattr(ImageEnhance, kind)(image)
        return enhancer.enhance(1 + _MAX_TONE * strength)

    return enhance


def _posterise(image: PillowImage, strength: float) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(_MAX_LOST_BITS * abs(strength)))


def _solarise(image: PillowImage, strength: float) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.solarize(image, 255 * (1 - abs(strength)))  # type: ignore[arg-type] # compared with bytes only


def _autocontrast(image: PillowImage, strength: float) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalise(image: PillowImage, strength: float) -> PillowImage:
    from PIL import ImageOps

    return ImageOps.equalize(image)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "identity": _identity,
        "shear_x": _shear_x,
        "shear_y": _shear_y,
        "translate_x": _translate_x,
        "translate_y": _translate_y,
        "rotate": _rotate,
        "brightness": _enhanced("Brightness"),
        "colour": _enhanced("Color"),
        "contrast": _enhanced("Contrast"),
        "sharpness": _enhanced("Sharpness"),
        "posterise": _posterise,
        "solarise": _solarise,
        "autocontrast": _autocontrast,
        "equalise": _equalise,
    }
)
"""Operations by name. Random draws depend on their order and number."""
