"""Preparation of images: from a decoded image to the array of fixed size that a network takes.

Shapes: h and w height and width of the prepared image in pixels, c channels; each channel is resized separately.

The rule is torchvision's for Pillow images: the shorter side is resized to `resize_px` with antialiasing, then the
centre is cropped. We compute only the pixels that the crop keeps (`Image.resize(..., box=...)`), which gives the same
image except for the rounding of the box to 32-bit floats inside Pillow. Rows are always resized before columns: by
default, Pillow 13 chooses the order by the shape of the box, and values between the two passes are rounded and clipped.
Two differences, both our choice: if the network input is larger than the resized image, the image is enlarged instead
of padded with black; and `squash` ignores the aspect ratio. `letterbox`, for tasks that need the whole image, keeps the
ratio and pads with grey, equally on both sides.
"""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

import numpy as np
from jaxtyping import UInt8

from regraft.errors import BadRecipe
from regraft.modalities.image.planes import PillowImage, Planes, as_array
from regraft.records import Record

Box = tuple[float, float, float, float]
"""Left, upper, right, lower edge in pixels of the decoded image; may extend beyond it for a letterbox."""


@dataclass(frozen=True, kw_only=True)
class Preparation(Record):
    """How a decoded image is resized and cropped; stored with the weights that were trained this way."""

    input_px: tuple[int, int]
    """Height and width of the prepared image, in pixels."""
    resize_px: int | str = "squash"
    """Length of the shorter side in pixels before the centre crop; `squash`: the whole image, ignoring its aspect
    ratio; `letterbox`: the whole image with its aspect ratio, padded with grey."""
    interpolation: str = "bilinear"
    """`bilinear` or `bicubic`, the filter for resizing, always antialiased."""
    channels: int = 3
    """Channels of the prepared image: 3 for colour, 1 for grey."""

    def __post_init__(self) -> None:
        if len(self.input_px) != 2 or min(self.input_px) < 1:
            raise BadRecipe(f"input_px is {self.input_px}; expected two positive integers.",
                            fix="set it to the height and width in pixels.")  # fmt: skip
        words = ("squash", "letterbox")
        if self.resize_px not in words if isinstance(self.resize_px, str) else self.resize_px < 1:
            raise BadRecipe(f"resize_px is {self.resize_px!r}.",
                            fix="set it to the pixels of the shorter side, 'squash' or 'letterbox'.")  # fmt: skip
        if self.interpolation not in ("bilinear", "bicubic"):
            raise BadRecipe(f"interpolation is {self.interpolation!r}.", fix="choose bilinear or bicubic.")

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines the pixels, as JSON, for the key of the activation store."""
        return {"rule": "regraft-resize-1", **self.to_json()}

    def scaled_to(self, input_px: int) -> "Preparation":
        """Return the same preparation for a square input of `input_px` pixels; the shorter side is scaled in
        proportion, rounded."""
        if isinstance(self.resize_px, str):
            return replace(self, input_px=(input_px, input_px))
        resize_px = max(input_px, round(self.resize_px * input_px / min(self.input_px)))
        return replace(self, input_px=(input_px, input_px), resize_px=resize_px)

    def plain(self, image: "PillowImage | Planes") -> UInt8[np.ndarray, "h w c"]:
        """Prepare a decoded image without augmentation."""
        return self.cut(image, self.centre(image.width, image.height))

    def centre(self, width: int, height: int) -> Box:
        """Return the box that the centre crop keeps of an image of `width` x `height` pixels."""
        return centre(width, height, self.input_px, self.resize_px)

    def cut(self, image: "PillowImage | Planes", box: Box) -> UInt8[np.ndarray, "h w c"]:
        """Crop the image to `box` and resize it to the input size."""
        made = placed(image, box, self.input_px, self.resize_px, self.interpolation, as_array)
        return np.ascontiguousarray(made)


# The functions below are also copied into the `predict.py` of an export: they must not use regraft.


def centre(
    width: int, height: int, input_px: tuple[int, int], resize_px: "int | str"
) -> tuple[float, float, float, float]:
    """Return the box to keep of an image: left, upper, right, lower edge in pixels.

    The shorter side is resized to `resize_px`, the longer one rounded down, and the central `input_px` (height, width)
    cropped; images too small for that are enlarged. `squash` keeps the whole image; `letterbox` does too, and extends
    beyond it.
    """
    if resize_px == "letterbox":
        scale = min(input_px[1] / width, input_px[0] / height)
        beyond = []
        for side, canvas in ((width, input_px[1]), (height, input_px[0])):  # borders have whole numbers of pixels
            border = min(round((canvas - side * scale) / 2), (canvas - 1) // 2)
            beyond.append(border * side / (canvas - 2 * border))
        return -beyond[0], -beyond[1], width + beyond[0], height + beyond[1]
    if isinstance(resize_px, str):
        return 0.0, 0.0, float(width), float(height)
    input_h, input_w = input_px
    shorter = min(width, height)
    resized_w, resized_h = (
        resize_px if side == shorter else int(resize_px * side / shorter) for side in (width, height)
    )
    if resized_w < input_w or resized_h < input_h:
        scale = max(input_w / width, input_h / height)
        resized_w, resized_h = max(input_w, round(width * scale)), max(input_h, round(height * scale))
    left, top = round((resized_w - input_w) / 2), round((resized_h - input_h) / 2)
    return (
        left * width / resized_w,
        top * height / resized_h,
        (left + input_w) * width / resized_w,
        (top + input_h) * height / resized_h,
    )


def placed(
    image: Any,
    box: tuple[float, float, float, float],
    input_px: tuple[int, int],
    resize_px: "int | str",
    interpolation: str,
    array: Any,
) -> Any:
    """Crop an image to `box`, resize it to `input_px` and convert it with `array`; a letterbox is grey outside the
    image."""
    inside = max(box[0], 0.0), max(box[1], 0.0), min(box[2], image.width), min(box[3], image.height)
    if inside == box or resize_px != "letterbox":
        return array(cut(image, box, input_px, interpolation))
    edges = [
        round((inside[at] - box[at % 2]) / (box[at % 2 + 2] - box[at % 2]) * input_px[1 - at % 2]) for at in range(4)
    ]
    size = max(1, edges[3] - edges[1]), max(1, edges[2] - edges[0])
    part = array(cut(image, inside, size, interpolation))
    canvas = np.full((*input_px, *part.shape[2:]), 128, dtype=np.uint8)
    canvas[edges[1] : edges[1] + size[0], edges[0] : edges[0] + size[1]] = part
    return canvas


def cut(image: Any, box: tuple[float, float, float, float], input_px: tuple[int, int], interpolation: str) -> Any:
    """Crop an image to `box` and resize it to `input_px` with antialiasing: rows first, then columns."""
    from PIL import Image

    height, width = input_px
    bicubic = interpolation == "bicubic"
    taps, reach = (Image.Resampling.BICUBIC, 2) if bicubic else (Image.Resampling.BILINEAR, 1)
    left, right, first_column, last_column = span(box[0], box[2], width, reach, image.width)
    upper, lower, first_row, last_row = span(box[1], box[3], height, reach, image.height)
    around = image.crop((first_column, first_row, last_column, last_row))
    narrow = around.resize((width, around.height), taps, box=(left, 0, right, around.height))
    return narrow.resize((width, height), taps, box=(0, upper, width, lower))


def span(start: float, end: float, size_px: int, reach: int, limit_px: int) -> tuple[float, float, int, int]:
    """Return, along one side, the box within the excerpt and the whole pixels to excerpt, including the filter's
    support.

    The filter extends `reach` pixels of the resized image to both sides, and at least as many decoded ones.
    """
    end = min(end, float(limit_px))
    margin = ceil(reach * max(1.0, (end - start) / size_px)) + 1
    first, last = max(0, floor(start) - margin), min(limit_px, ceil(end) + margin)
    return start - first, end - first, first, last
