"""Reading of sound files, in full or in part, with soundfile (libsndfile; extra `sound`).

Letters: s samples, k channels.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from regraft.contracts.example import SHOWN, Content, Contents, File, Inline
from regraft.errors import MissingExtra, Undecodable
from regraft.files import unreadable
from regraft.modalities.sound.resample import resampled

REVISION = 1
"""Revision; raised when the same file gives different samples."""
BLOCK = 1 << 18
"""Number of frames read at a time when reading a whole file."""


def library() -> Any:
    """Return the package soundfile.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtra("soundfile", "sound", "Reading recordings") from error
    return soundfile


@lru_cache(maxsize=1)
def reader() -> str:
    """Return the reader's name and revision, with the library version that determines the samples.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        return f"regraft-sound-{REVISION} soundfile-{version('soundfile')}"
    except PackageNotFoundError as error:
        raise MissingExtra("soundfile", "sound", "Reading recordings") from error


def only(contents: Contents) -> Content:
    """Return the single content of a recording, without the decoder's target."""
    (content,) = (one for name, one in contents.items() if name != SHOWN)
    return content


def bytes_of(content: Content) -> bytes:
    """Return the bytes of a file.

    Raises:
        Undecodable: it cannot be read.
    """
    if isinstance(content, Inline):
        return bytes(content.value)
    try:
        return content.path.read_bytes()
    except OSError as error:
        raise Undecodable(unreadable(content.path, error), str(content)) from error


@contextmanager
def opened(content: Content) -> Iterator[Any]:
    """Open the file with soundfile.

    Raises:
        Undecodable: it is empty, damaged or not a sound file.
    """
    soundfile, name = library(), str(content)
    try:
        if isinstance(content, File):
            if not content.path.stat().st_size:
                raise Undecodable("the file is empty (0 bytes)", name)
            source: Any = str(content.path)
        else:
            source = io.BytesIO(content.value)
        with soundfile.SoundFile(source) as file:
            if file.frames < 1:
                raise Undecodable("it contains no samples", name)
            yield file
    except OSError as error:
        raise Undecodable(unreadable(Path(name), error), name) from error
    except soundfile.LibsndfileError as error:
        said = str(error).rpartition(": ")[2].strip(" .") or "it is not a sound file"
        raise Undecodable(f"libsndfile error: {said}", name) from error
    except ValueError as error:
        raise Undecodable(str(error), name) from error


def blocks(file: Any, name: str) -> Iterator[Float32[np.ndarray, "s k"]]:
    """Yield the whole file in blocks; full scale is 1.

    Raises:
        Undecodable: it is shorter than its header says, or contains values that are not sound.
    """
    read = 0
    while read < file.frames:
        block: np.ndarray = file.read(min(BLOCK, file.frames - read), dtype="float32", always_2d=True)
        if not len(block):
            raise Undecodable(f"it ends after {read:,} of the {file.frames:,} samples declared in its header", name)
        read += len(block)
        yield checked(block)


def stretch(content: Content, start_s: float | None, seconds: float, rate_hz: int) -> Float32[np.ndarray, " s"]:
    """Return `seconds` of sound from `start_s` on, in mono at `rate_hz`; anything beyond the end is left out.

    With None, return the middle of the recording. The start is a multiple of both sampling periods, at most 10 ms away
    for the usual sampling rates, so that a time span has the same samples however it is requested. Channels are
    averaged.

    Raises:
        Undecodable: the file cannot be read.
    """
    with opened(content) as file:
        return heard(file, start_s, seconds, rate_hz)


# The code below is also copied into the `predict.py` of an export; of regraft it uses `resampled` only.

MARGIN_S = 0.02
"""Seconds to read beyond both ends of a time span, as context for the resampling filter."""
LOUDEST = 1 << 31
"""Maximum magnitude of a sample: 32-bit integers stored as floating-point numbers are accepted."""


def checked(samples: Float32[np.ndarray, "s k"]) -> Float32[np.ndarray, "s k"]:
    """Check samples from a floating-point file, which may contain any value; raises ValueError if they are not
    sound."""
    if not np.isfinite(samples).all():
        raise ValueError("it contains samples that are not finite")
    if samples.size and np.abs(samples).max() > LOUDEST:
        raise ValueError(f"it contains samples beyond {LOUDEST:,}, where full scale is 1")
    return samples


def heard(file: Any, start_s: float | None, seconds: float, rate_hz: int) -> Float32[np.ndarray, " s"]:
    """Same as `stretch`, for a file opened by soundfile; raises ValueError if the file is truncated."""
    source, unit = file.samplerate, file.samplerate // math.gcd(file.samplerate, rate_hz)
    if start_s is None:
        start_s = max(0.0, (file.frames / source - seconds) / 2)
    first = min(round(start_s * source / unit) * unit, file.frames - 1)
    margin = math.ceil(MARGIN_S * source / unit) * unit if source != rate_hz else 0
    before = min(margin, first)
    file.seek(first - before)
    wanted = before + math.ceil(seconds * source) + margin
    samples = file.read(wanted, dtype="float32", always_2d=True)
    if len(samples) < min(wanted, file.frames - first + before):
        raise ValueError("it is shorter than its header declares")
    mono = resampled(checked(samples).mean(axis=1), source, rate_hz)
    skipped = before * rate_hz // source
    return mono[skipped : skipped + round(seconds * rate_hz)]
