"""Augmented views: the plain image, and random crops and flips that are reproducible from their number.

Shapes: h and w height and width of the prepared image in pixels, c channels.

View 0 is the plain one. View k is a pure function of the seed, of k and of the content of the image: the same in every
process, on every machine, in any order. The random numbers are raw 64-bit outputs of PCG64, whose stream numpy
guarantees to be stable.

Source: the random resized crop (area and aspect ratio, ten tries, else the centre) is torchvision's, after Szegedy et
al. 2014, arXiv:1409.4842. The minimum area of 0.35 instead of 0.08 is our choice: with few examples and a frozen
network, crops of a twelfth of an image mostly miss the labelled object. Brightness and contrast are applied in one
step, contrast around the mean grey, without clipping in between, followed by conversion to greyscale. RandAugment
(`operations`) is applied to the cropped and flipped image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import exp, log, sqrt
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from regraft.contracts.modality import Shapes
from regraft.errors import BadRecipe
from regraft.identity import derive_seed
from regraft.modalities.image.planes import PillowImage, Planes
from regraft.modalities.image.prepare import Box, Preparation
from regraft.recipe import preset as named_preset

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value of an image, after ITU-R BT.601."""
PLACEMENT: Shapes = {"box": ((4,), "float32"), "flips": ((2,), "bool")}
"""Placement of a view in its image: left, upper, right and lower edge of its crop, in pixels of the decoded image; and
whether the crop was then flipped horizontally and vertically."""
MAX_MAGNITUDE = 30.0
"""Magnitude at which every operation of RandAugment has its maximum strength."""
TRIES = 10
"""Number of random crops to try before falling back to the centre."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of images."""

    smallest_share: float = 1.0
    """Minimum share of the image's area that a crop keeps, in (0, 1]; 1: no random crops, the plain view's crop is
    used."""
    ratio: float = 4 / 3
    """Maximum ratio of a crop's longer to its shorter side, relative to that of the input; at least 1."""
    horizontal_flip: float = 0.0
    """Probability of a horizontal flip."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip."""
    brightness: float = 0.0
    """Pixel values are multiplied by a factor drawn from 1 ± this; in [0, 1)."""
    contrast: float = 0.0
    """Differences from the mean grey are multiplied by a factor drawn from 1 ± this; in [0, 1)."""
    greyscale: float = 0.0
    """Probability of conversion to greyscale, for tasks whose images may lack colour."""
    operations: int = 0
    """Number of RandAugment operations drawn for each view and applied in sequence; 0 or more."""
    magnitude: float = 9.0
    """Magnitude of these operations, in [0, 30]; no effect without operations."""
    on_device: bool = False
    """Whether to decode images once, keep them on the device, and crop views there: for training whole networks on a
    GPU, which would otherwise wait for the CPU. Requires new views (`views` 0) at cut `input`, and no operations."""

    def __post_init__(self) -> None:
        shares = ("horizontal_flip", "vertical_flip", "greyscale")
        wrong = [name for name in shares if not 0 <= getattr(self, name) <= 1]
        wrong += [name for name in ("brightness", "contrast") if not 0 <= getattr(self, name) < 1]
        wrong += ["smallest_share"] if not 0 < self.smallest_share <= 1 else []
        wrong += ["ratio"] if self.ratio < 1 else []
        wrong += ["operations"] if self.operations < 0 else []
        wrong += ["magnitude"] if not 0 <= self.magnitude <= MAX_MAGNITUDE else []
        if wrong:
            raise BadRecipe(
                f"The augmentation's {wrong[0]} is {getattr(self, wrong[0])}, out of range.",
                fix="smallest_share must be in (0, 1], ratio 1 or more, flips and greyscale in [0, 1], operations "
                f"0 or more, magnitude in [0, {MAX_MAGNITUDE:g}], the others in [0, 1).",
            )

        if self.on_device and self.operations:
            raise BadRecipe(
                f"augment.on_device is true and augment.operations is {self.operations}, but RandAugment processes one "
                "image at a time.",
                fix="leave out one of them.",
            )

    @property
    def varies(self) -> bool:
        """Whether any view can differ from the plain one."""
        return replace(self, ratio=_PLAIN.ratio, magnitude=_PLAIN.magnitude, on_device=False) != _PLAIN

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines the pixels of a view, as JSON, for the key of the activation store."""
        later = ("greyscale", "operations", "magnitude", "on_device")  # while off, they change neither keys nor draws
        fields = {name: value for name, value in asdict(self).items() if name not in later}
        greyscale = {"greyscale": self.greyscale} if self.greyscale else {}
        operations = {"rand_augment": 1, "operations": self.operations, "magnitude": self.magnitude}
        on_device = {"on_device": 1} if self.on_device else {}
        return {"rule": "regraft-view-1", **fields, **greyscale, **(operations if self.operations else {}), **on_device}


_PLAIN = Augmentation()

PRESETS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "default": Augmentation(smallest_share=0.35, horizontal_flip=0.5),
        "colour": Augmentation(smallest_share=0.35, horizontal_flip=0.5, brightness=0.2, contrast=0.2),
        "flips": Augmentation(horizontal_flip=0.5, vertical_flip=0.5),
        "strong": Augmentation(smallest_share=0.35, horizontal_flip=0.5, operations=2, magnitude=9.0),
        "none": Augmentation(),
    }
)
"""Named augmentations: random crops and horizontal flips; the same with mild changes of brightness and contrast;
horizontal and vertical flips only (tissue, aerial images: no orientation); random crops, horizontal flips and two
RandAugment operations at torchvision's default magnitude; none."""


def preset(name: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Augmentation:
    """Return the augmentation of this name, with some of its fields changed.

    Raises:
        UnknownName: there is no such augmentation.
        BadRecipe: a field is unknown, of the wrong kind or out of range.
    """
    return named_preset(PRESETS, name, changes)


def view(
    image: "PillowImage | Planes",
    preparation: Preparation,
    augmentation: Augmentation,
    *,
    number: int,
    seed: int,
    content: str,
) -> UInt8[np.ndarray, "h w c"]:
    """Return view `number` of a decoded image whose file has the digest `content`."""
    return placed_view(image, preparation, augmentation, number=number, seed=seed, content=content)[0]


def placement_of(box: Box, *, left_right: bool = False, top_bottom: bool = False) -> dict[str, np.ndarray]:
    """Return the arrays of `PLACEMENT`."""
    return {"box": np.array(box, dtype=np.float32), "flips": np.array([left_right, top_bottom])}


def placed_view(
    image: "PillowImage | Planes",
    preparation: Preparation,
    augmentation: Augmentation,
    *,
    number: int,
    seed: int,
    content: str,
) -> tuple[UInt8[np.ndarray, "h w c"], dict[str, np.ndarray]]:
    """Return the view and its placement in the decoded image; the placement does not include RandAugment's
    operations."""
    if number == 0 or not augmentation.varies:
        box = preparation.centre(image.width, image.height)
        return preparation.cut(image, box), placement_of(box)
    draws = _uniform(derive_seed(seed, "view", number, content))
    box = _crop(image.width, image.height, preparation, augmentation, draws)
    pixels = preparation.cut(image, box)
    left_right, top_bottom = next(draws) < augmentation.horizontal_flip, next(draws) < augmentation.vertical_flip
    if left_right:
        pixels = pixels[:, ::-1]
    if top_bottom:
        pixels = pixels[::-1]
    brightness = 1 + augmentation.brightness * (2 * next(draws) - 1)
    contrast = 1 + augmentation.contrast * (2 * next(draws) - 1)
    if augmentation.brightness or augmentation.contrast:
        pixels = _toned(pixels, brightness, contrast)
    if augmentation.greyscale and next(draws) < augmentation.greyscale:
        pixels = _grey(pixels)
    pixels = np.ascontiguousarray(pixels)
    if augmentation.operations:
        from PIL import Image

        from regraft.modalities.image.rand_augment import rand_augment

        changed = rand_augment(Image.fromarray(pixels), augmentation.operations, augmentation.magnitude, draws)
        pixels = np.array(changed, dtype=np.uint8)
    return pixels, placement_of(box, left_right=left_right, top_bottom=top_bottom)


def _uniform(seed: int) -> Iterator[float]:
    """Yield 53-bit numbers in [0, 1)."""
    source = np.random.PCG64(seed)
    while True:
        yield float(int(source.random_raw()) >> 11) * 2.0**-53


def _crop(width: int, height: int, preparation: Preparation, augmentation: Augmentation, draws: Iterator[float]) -> Box:
    if augmentation.smallest_share == 1.0:
        return preparation.centre(width, height)
    input_h, input_w = preparation.input_px
    reach = log(augmentation.ratio)
    for _ in range(TRIES):
        area = width * height * (augmentation.smallest_share + (1 - augmentation.smallest_share) * next(draws))
        ratio = exp(reach * (2 * next(draws) - 1)) * input_w / input_h
        crop_w, crop_h = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < crop_w <= width and 0 < crop_h <= height:
            left = int(next(draws) * (width - crop_w + 1))
            top = int(next(draws) * (height - crop_h + 1))
            return float(left), float(top), float(left + crop_w), float(top + crop_h)
    return preparation.centre(width, height)


def _toned(pixels: UInt8[np.ndarray, "h w c"], brightness: float, contrast: float) -> UInt8[np.ndarray, "h w c"]:
    means = pixels.mean(axis=(0, 1))
    grey = float((means * LUMA).sum() if len(means) == len(LUMA) else means.mean()) * brightness
    table = (np.arange(256) * brightness - grey) * contrast + grey
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[pixels]


def _grey(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """Replace every channel by the grey value, or by the mean of the channels unless there are three."""
    grey = pixels @ np.array(LUMA) if pixels.shape[2] == len(LUMA) else pixels.mean(axis=2)
    return np.broadcast_to(np.rint(grey).astype(np.uint8)[..., None], pixels.shape)
