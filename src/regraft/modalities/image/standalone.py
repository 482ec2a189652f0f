"""From an image file to the array that a network takes, by Pillow and numpy alone.

The functions go into the `predict.py` of an export as they stand here; so they use nothing of regraft. They decode as
`decode` does, save that they read no DICOM and have no limit of size, and resize as `prepare.Preparation` does: every
export is held to that on the files of its run, and tests are on files of every kind.
"""

import io
from inspect import getsource
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np


def prepare(path: Path, preparation: dict[str, Any]) -> dict[str, np.ndarray]:
    """The image in a file as `pixels` (height, width, channels), bytes, resized and cut as `preparation` says."""
    planes = decoded(Path(path).read_bytes(), preparation["channels"])
    box = centre(planes[0].width, planes[0].height, preparation["input_px"], preparation["resize_px"])
    cuts = [np.asarray(cut(plane, box, preparation["input_px"], preparation["interpolation"])) for plane in planes]
    return {"pixels": np.concatenate([one if one.ndim == 3 else one[..., None] for one in cuts], axis=2)}


def decoded(data: bytes, channels: int) -> list[Any]:
    """Upright images of 8 bits: one in RGB, or in grey for one channel; else one for each channel.

    16 bits are scaled by their full range; transparent parts are laid on white, save for four channels.
    """
    from PIL import Image, ImageOps

    if data.startswith(b"\x93NUMPY"):
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if array.dtype != np.uint8:
            array = ((array.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8)
        array = array if array.ndim == 3 else array[..., None]
        planes = [Image.fromarray(np.ascontiguousarray(array[..., at])) for at in range(array.shape[2])]
        if len(planes) not in (1, 3):
            return planes
        image = Image.merge("RGB", planes * (3 // len(planes)))
    else:
        opened = Image.open(io.BytesIO(data))
        image = ImageOps.exif_transpose(opened)
        if image.mode == "I" or image.mode.startswith("I;16"):
            values = np.asarray(image).astype(np.int64)
            if opened.format == "TIFF" and getattr(opened, "tag_v2", {}).get(262) == 0:  # 0 is white
                values = 65535 - values
            image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
        elif channels != 4 and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
            ground.alpha_composite(image.convert("RGBA"))
            image = ground.convert("RGB")
    if channels == 4:
        return list(image.convert("RGBA").split())
    image = image.convert("RGB")
    return [image.convert("L") if channels == 1 else image]


def centre(
    width: int, height: int, input_px: tuple[int, int], resize_px: "int | str"
) -> tuple[float, float, float, float]:
    """The part of an image that is kept: left, upper, right, lower edge in pixels.

    The shorter side is brought to `resize_px`, the longer rounded down, and `input_px` (height, width) cut out of the
    middle; what is too small for that is enlarged. `squash` keeps the whole image.
    """
    if resize_px == "letterbox":
        raise ValueError("a letterbox is not made here")
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


def cut(image: Any, box: tuple[float, float, float, float], input_px: tuple[int, int], interpolation: str) -> Any:
    """The part `box` of an image, resized to `input_px`, antialiased: first the rows, then the columns."""
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
    """Along one side: the box within the cut-out, and the whole pixels to cut out, the filter's surroundings included.

    The filter reaches `reach` pixels of the resized image to both sides, but at least as many decoded ones.
    """
    end = min(end, float(limit_px))
    margin = ceil(reach * max(1.0, (end - start) / size_px)) + 1
    first, last = max(0, floor(start) - margin), min(limit_px, ceil(end) + margin)
    return start - first, end - first, first, last


SCRIPT = "\n\n".join(getsource(one) for one in (prepare, decoded, centre, cut, span))
"""The text."""
