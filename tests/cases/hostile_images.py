"""Image files of every form, names, and bytes that are none: what hostile cases are made of, whole or damaged."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cases.door import photo
from data.dicoms import dicom

NAMES = (
    "cat", "dog", "猫", "a b", " x", "-v", "--out", "a'b\"c", "$HOME", "a\nb", "a\x07b", "%s%n", "CON", "train", "test",
    "Val", "x" * 200, "é", "e\u0301", "🦋", "a;b", "a,b", "=1+1", "<b>&amp;", "..x", "~", "1", "0x1", "nan", "null",
    b"caf\xe9".decode("utf-8", "surrogateescape"), "\u202eabc", "a\\b", "C:x", "*", "[a]", "#", ".hidden", "Thumbs.db",
)  # fmt: skip
"""Names of folders and files."""
ENDINGS = (
    "png",
    "jpg",
    "JPEG",
    "gif",
    "bmp",
    "tif",
    "webp",
    "dcm",
    "npy",
    "jp2",
    "avif",
    "ppm",
    "txt",
    "",
    "7",
    "heic",
)
OTHERS = (
    b"", b"\0" * 600, b"<html><body>404</body></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n%",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"/annex/objects/SHA256E-s1--0.png\n",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"\xff\xd8\xff", b"GIF89a",
    b"BM", b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"II*\0\x08\0\0\0", b"\x93NUMPY\1\0",
    b"P6 1 1 255\n",
)  # fmt: skip
"""What is saved under the name of an image, and is none."""


def images(draw: random.Random) -> bytes:
    """A whole image file of some kind."""
    side = draw.choice((1, 2, 7, 32, 40, 64))
    plain = photo(draw.randrange(2), draw.randrange(10_000), side)
    grey = np.asarray(plain.convert("L"))
    kind = draw.randrange(30)
    if kind < 6:
        mode = ("L", "LA", "P", "RGBA", "1", "RGB")[kind]
        options: dict[str, object] = {"transparency": 0} if mode == "P" else {}
        return saved(plain.convert(mode), "PNG", **options)
    if kind < 9:
        deep = Image.fromarray(grey.astype(np.uint16) * 257)
        floats = Image.fromarray(grey.astype(np.float32))
        return (saved(deep, "PNG"), saved(deep, "TIFF"), saved(floats, "TIFF"))[kind - 6]
    if kind < 13:
        mode, progressive = (("RGB", False), ("L", False), ("CMYK", False), ("RGB", True))[kind - 9]
        turned = Image.Exif()
        turned[0x0112] = draw.randrange(12)
        return saved(plain.convert(mode), "JPEG", progressive=progressive, exif=turned)
    if kind < 19:
        form = ("GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF")[kind - 13]
        return saved(plain, form, save_all=True, append_images=[plain.rotate(90)] * 2)
    if kind < 24:
        return saved(plain, ("BMP", "PPM", "JPEG2000", "TIFF", "ICO")[kind - 19])
    if kind < 25:
        return saved(plain.convert("1"), "TIFF", compression="group4")
    if kind < 27:
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(plain) if kind == 25 else grey.astype(np.uint16))
        return buffer.getvalue()
    whole = dicom(grey, PatientID=str(draw.randrange(9)), PhotometricInterpretation=f"MONOCHROME{draw.randrange(1, 3)}")
    return whole if kind < 29 else whole[144 + int.from_bytes(whole[140:144], "little") :]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The image as a file of this form."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def damaged(data: bytes, draw: random.Random, header: int = 64) -> bytes:
    """The bytes, cut off, changed, padded or doubled."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        how, at = draw.randrange(8), draw.randrange(len(changed) + 1)
        if how == 0:
            del changed[at:]
        elif how in (1, 2) and changed:
            end = min(len(changed), header) if how == 1 else len(changed)
            for _ in range(draw.choice((1, 3, 20))):
                changed[draw.randrange(end)] = draw.randrange(256)
        elif how == 3:
            changed[at:at] = draw.randbytes(draw.choice((1, 4, 100)))
        elif how == 4:
            del changed[at : at + draw.choice((1, 4, 100))]
        elif how == 5:
            changed[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"))
        elif how == 6:
            changed += changed[: draw.choice((10, 1000))] + draw.randbytes(20)
        elif bytes(changed[:4]) == b"\x89PNG" and len(changed) > 33:
            changed[16:24] = struct.pack(">II", draw.choice((0, 1, 40, 60_000, 2**31)), draw.choice((0, 40, 60_000)))
            changed[29:33] = struct.pack(">I", zlib.crc32(bytes(changed[12:29])))
    return bytes(changed)


def put(path: Path, data: bytes) -> None:
    """Write a file where the system takes its name."""
    try:
        path.write_bytes(data)
    except OSError:
        path.with_name(f"x{path.suffix[:5]}").write_bytes(data)
