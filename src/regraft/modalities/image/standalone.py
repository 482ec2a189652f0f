"""Preparation of image files in exports, with Pillow and numpy only.

The functions are copied into the `predict.py` of an export; so they must not use regraft. They decode like `decode`,
except that they do not read DICOM and have no size limit: every export is checked on the files of its run, and tests
use files of every kind. They resize with the functions of `prepare`.
"""

import io
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np

from regraft.modalities.image.prepare import centre, cut, placed, span


def inputs(path: Path) -> list[Path]:
    """Return the images in a file: one."""
    return [path]


def prepare(path: Path, preparation: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Return the image in a file as `pixels` (height, width, channels), bytes, resized and cropped according to
    `preparation`; and `box`: left, upper, right, lower edge of the crop, in pixels of the image."""
    planes, rule = decoded(Path(path).read_bytes(), preparation["channels"]), preparation["resize_px"]
    box = centre(planes[0].width, planes[0].height, preparation["input_px"], rule)
    how = preparation["input_px"], rule, preparation["interpolation"]
    cuts = [placed(plane, box, *how, np.asarray) for plane in planes]
    pixels = np.concatenate([one if one.ndim == 3 else one[..., None] for one in cuts], axis=2)
    return {"pixels": pixels, "box": np.array(box, dtype=np.float32)}


def decoded(data: bytes, channels: int) -> list[Any]:
    """Decode to upright 8-bit images: one in RGB, or in grey for one channel; else one for each channel.

    16-bit values are scaled by their full range; transparent areas are placed on white, except with four channels.
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


SCRIPT = "\n\n".join(getsource(one) for one in (inputs, prepare, decoded, centre, placed, cut, span))
"""The source code."""
