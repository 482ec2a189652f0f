"""Masks as images: values of a mask's pixels, sizes of images, and drawings of masks and boxes.

Letters: h and w height and width in pixels.
"""

import colorsys
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from regraft.contracts.example import Content, File, Marks
from regraft.errors import BadData, Undecodable
from regraft.files import head
from regraft.modalities.image.decode import image_of, largest
from regraft.modalities.image.dicom import HEAD_BYTES, is_dicom, stored_in
from regraft.modalities.image.planes import Planes, Unreadable

FIX = "save it as a PNG: one channel or a palette with classes as values, or colours."
UPRIGHT, TURNED = 274, 5
"""EXIF field for the orientation, and its lowest value for which width and height are swapped."""
FINER = 5
"""Points per pixel and side at which polygons are drawn."""
SEEN = 0.5
"""Opacity of the mask's colour in an overlay (our choice)."""


def values_of(path: Path) -> tuple[Int[np.ndarray, "h w"], bool]:
    """Return the value of every pixel of a mask (the grey level, the palette index, the stored value of a DICOM file,
    or 0xrrggbb for a colour mask), and whether the values are colours.

    Raises:
        BadData: it cannot be read, is too large, or in a format that changes values.
    """
    from PIL import Image

    try:
        if is_dicom(head(path)[:HEAD_BYTES]):
            return stored_in(path.read_bytes(), largest(), str(path)), False
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise BadData(f"{path} is a JPEG, whose lossy compression changes the values of the mask.", fix=FIX)
            if (limit := largest()) and image.width * image.height > limit:
                raise BadData(
                    f"{path} has {image.width:,} x {image.height:,} pixels; the limit is {limit:,}.",
                    fix="reduce the size of the mask and its image.",
                )
            image.load()
            if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;"):
                return np.asarray(image).astype(np.int64) * (255 if image.mode == "1" else 1), False
            if image.mode not in ("RGB", "RGBA", "LA", "PA"):
                raise BadData(
                    f"The mask {path} has pixels of mode {image.mode}, which cannot represent classes.", fix=FIX
                )
            red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), 2, 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Unreadable) as error:
        raise BadData(f"The mask {path} cannot be read ({error}).", fix=FIX) from error
    if (red == green).all() and (green == blue).all():
        return red, False
    return (red << 16) | (green << 8) | blue, True


def size_of(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image once it is upright, from its header if possible; None if it cannot be
    read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(UPRIGHT, 1) >= TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        pass
    try:
        other = image_of(File(path), 0)
    except Undecodable:
        return None
    return other.height, other.width


def outlined(segmentation: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return which pixels, by their centres, are inside a COCO segmentation: polygons (x, y, x, y, …), or the lengths
    of runs down the columns, outside and inside in turn, as numbers or as COCO's text.

    Raises:
        IndexError, TypeError, ValueError: it is neither.
    """
    from PIL import Image, ImageDraw

    if isinstance(segmentation, dict):
        counts, size = segmentation["counts"], tuple(segmentation["size"])
        lengths = runs_of(counts) if isinstance(counts, str) else counts
        if size != shape or sum(lengths) != shape[0] * shape[1]:
            raise ValueError(f"runs are of {size}, the image is {shape}")
        return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape[::-1]).T
    canvas = Image.new("1", (shape[1] * FINER, shape[0] * FINER))
    for polygon in segmentation:
        points = np.array(polygon, dtype=np.float64).reshape(-1, 2) * FINER - 0.5
        ImageDraw.Draw(canvas).polygon(points.ravel().tolist(), fill=1)
    return np.asarray(canvas)[FINER // 2 :: FINER, FINER // 2 :: FINER]


def runs_of(text: str) -> list[int]:
    """Return the lengths of runs in COCO's text: five bits and a sign of more per character, differences from the third
    on. Source: pycocotools (maskApi.c, rleFrString)."""
    found, value, shift = list[int](), 0, 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16 and 1) << shift
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return found


def drawn(content: Content, marks: Marks, longest: int = 0) -> dict[str, bytes]:
    """Return PNG files by the endings of their names: `.overlay.png`, the image with marks in the colours of their
    classes, and for a mask `.mask.png`, its class indices with a palette. Class 0 of a mask is transparent in the
    overlay, which is resized to `longest` pixels, unless 0, before boxes are drawn."""
    from PIL import Image, ImageDraw, ImageFont

    colours, files = palette(), dict[str, bytes]()
    image = image_of(content)
    below = np.asarray(image.in_three() if isinstance(image, Planes) else image.convert("RGB")).astype(np.float32)
    if (numbers := marks.numbers) is not None:
        mask = Image.fromarray(numbers, mode="P")
        mask.putpalette(colours.tobytes())
        files[".mask.png"] = _png(mask)
        share = np.where(numbers > 0, SEEN, 0.0)[..., None]
        below = below * (1 - share) + colours[numbers] * share
    shown = Image.fromarray(np.rint(below).astype(np.uint8))
    scale = longest / max(shown.size) if longest else 1.0
    if longest:
        shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
    draw, side = ImageDraw.Draw(shown), min(shown.size)
    font = ImageFont.load_default(max(12, side // 25))
    found = [(text, colours[1 + number % (len(colours) - 1)].tolist(), [edge * scale for edge in box])
             for text, number, box in marks.boxes]  # fmt: skip
    for _, colour, (left, top, right, bottom) in found:
        sides = left, top, max(left, right - 1), max(top, bottom - 1)
        draw.rectangle(sides, outline=tuple(colour), width=max(2, side // 150))
    taken = list[tuple[float, float, float, float]]()
    for text, colour, (left, top, _, bottom) in found:
        _, _, wide, high = draw.textbbox((0, 0), text, font=font)
        x = max(0, min(left, shown.width - wide))
        # above the box, below or inside, where it hides no other text
        heights = [y for y in (top - high, bottom, top) if 0 <= y <= shown.height - high] or [top]
        places = [(x, y, x + wide, y + high) for y in heights]
        place = next((one for one in places if not any(_meet(one, other) for other in taken)), places[0])
        taken.append(place)
        draw.rectangle(place, fill=tuple(colour))
        dark = colour[0] * 0.299 + colour[1] * 0.587 + colour[2] * 0.114 < 128
        draw.text(place[:2], text, fill=(255, 255, 255) if dark else (0, 0, 0), font=font)
    return files | {".overlay.png": _png(shown)}


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def palette() -> UInt8[np.ndarray, "256 3"]:
    """Return a colour for each class index: black, then clearly different hues."""
    hues = [colorsys.hsv_to_rgb((0.07 + at * 0.618034) % 1, 0.85, 0.95) for at in range(255)]
    return np.rint(255 * np.array([(0.0, 0.0, 0.0), *hues])).astype(np.uint8)


def _png(image: "object") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # type: ignore[attr-defined]
    return buffer.getvalue()
