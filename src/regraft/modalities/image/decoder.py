"""What decodes here, as one line for the keys of stores; known without loading Pillow when nothing was installed since.

The version of the JPEG library stands only inside Pillow's compiled part, and loading that takes longer than a warm
scan. So the line is remembered in the cache together with the size and time of that part.
"""

import json
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from regraft.errors import OutOfSpace
from regraft.files import cache_home, write_json
from regraft.modalities.image.decode import DECODER
from regraft.modalities.image.dicom import reader


def decoder(*, dicom: bool = False) -> str:
    """Name and revision of the decoder with the versions that decide its pixels: Pillow's and the JPEG library's.

    With `dicom`, where DICOM files are among those decoded, pydicom's and its helpers' too.
    """
    return f"{_pillow()} {reader()}" if dicom else _pillow()


@lru_cache(maxsize=1)
def _pillow() -> str:
    stamp, path = _stamp(), cache_home() / "scan" / "decoder.json"
    with suppress(OSError, ValueError, LookupError, TypeError):  # not remembered yet
        known = json.loads(path.read_bytes())
        if stamp and known["stamp"] == stamp:
            return str(known["decoder"])
    line = _asked()
    with suppress(OSError, OutOfSpace):  # a cache that cannot be written costs time, nothing else
        write_json(path, {"stamp": stamp, "decoder": line})
    return line


def _asked() -> str:
    import PIL
    from PIL import _imaging

    jpeg = getattr(_imaging, "libjpeg_turbo_version", None) or _imaging.jpeglib_version
    return f"{DECODER} pillow-{PIL.__version__} jpeg-{jpeg}"


def _stamp() -> list[str | int]:
    """The revision, and place, size and time of Pillow's compiled part; empty when it cannot be found."""
    spec = find_spec("PIL")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for part in sorted(Path(folder).glob("_imaging.*")):
            found = part.stat()
            return [DECODER, str(part), found.st_size, found.st_mtime_ns]
    return []
