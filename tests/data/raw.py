"""PNG and TIFF files byte by byte, of kinds that Pillow can read and not write."""

import struct
import zlib

import numpy as np


def png(values: np.ndarray, colour: int) -> bytes:
    """16-bit samples (h w c) as a PNG of this colour type."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, photometric: int, *, order: str = "<", extra: tuple[int, ...] = ()) -> bytes:
    """Samples (h w c) as an uncompressed TIFF; `photometric` 0: white is zero, 1: black is zero, 2: RGB, 5: CMYK."""
    height, width, samples = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * values.dtype.itemsize] * samples), 259: ("H", [1]),
        262: ("H", [photometric]), 273: ("I", [0]), 277: ("H", [samples]), 278: ("I", [height]),
        279: ("I", [len(data)]), 339: ("H", [kind] * samples),
    }  # fmt: skip
    if extra:
        tags[338] = ("H", list(extra))
    end, beside, entries = 8 + 2 + 12 * len(tags) + 4, b"", b""
    long = {tag: struct.pack(f"{order}{len(v)}{c}", *v) for tag, (c, v) in tags.items()}
    data_at = end + sum(len(packed) for packed in long.values() if len(packed) > 4)
    for tag, (code, listed) in sorted(tags.items()):
        packed = struct.pack(f"{order}I", data_at) if tag == 273 else long[tag]
        if len(packed) > 4:
            beside, packed = beside + packed, struct.pack(f"{order}I", end + len(beside))
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(listed)) + packed.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return start + entries + bytes(4) + beside + data
