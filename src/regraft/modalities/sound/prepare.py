"""From samples to what a network takes: log-mel features, or the spectrogram as bytes that image networks begin with.

That second form is the bridge by which GoogLeNet hears: rows are mel bands, high ones on top, columns are time, every
channel is the same, and 0 to 255 are 80 dB below the loudest place up to it. A network trained on photographs takes it
as it takes a photograph, so nothing above or below the modality knows of the difference.

Letters: s samples, t frames, m mel bands, h and w height and width in pixels, c channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from regraft.errors import BadRecipe
from regraft.modalities.sound.mel import HOP_S, log_mel
from regraft.records import Record


@dataclass(frozen=True, kw_only=True)
class Preparation(Record):
    """How a recording becomes what a network takes."""

    seconds: float = 2.0
    """Seconds of a piece: shorter recordings are padded with silence at the end, of longer ones the middle is heard."""
    step_seconds: float = 0.0
    """Seconds from one piece to the next, so that all of a long recording is heard; 0: it is one piece."""
    rate_hz: int = 16000
    """The sampling rate that recordings are brought to."""
    num_bands: int = 80
    """Mel bands."""
    input_px: tuple[int, ...] = ()
    """Height and width of the spectrogram as bytes; empty: features are handed on as numbers."""
    channels: int = 3
    """Equal channels of that spectrogram."""

    def __post_init__(self) -> None:
        for name, holds, wanted in (
            ("seconds", 0.05 <= self.seconds <= 600, "from 0.05 to 600"),
            ("step_seconds", self.step_seconds == 0 or 0.01 <= self.step_seconds <= self.seconds,
             "0, or from 0.01 to the seconds of a piece"),
            ("rate_hz", 1000 <= self.rate_hz <= 384_000 and self.rate_hz % 100 == 0,
             "a multiple of 100 from 1000 to 384000"),
            ("num_bands", 8 <= self.num_bands <= 256, "from 8 to 256"),
            ("input_px", len(self.input_px) in (0, 2), "height and width"),
        ):  # fmt: skip
            if not holds:
                raise BadRecipe(f"prepare.{name} is {getattr(self, name)}; it must be {wanted}.",
                                fix="leave it out for the default.")  # fmt: skip

    @property
    def frames(self) -> int:
        """Columns of the features of a piece."""
        return round(self.seconds / HOP_S)

    def digest_fields(self) -> dict[str, Any]:
        """What decides the record, as JSON, for the key of the activation store."""
        return {"rule": "regraft-log-mel-1", **self.to_json()}

    def scaled_to(self, input_px: int) -> "Preparation":
        """The same sound for a square input of `input_px` pixels."""
        return replace(self, input_px=(input_px, input_px)) if self.input_px else self

    def features(self, samples: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, "m t"]:
        """Log-mel features of one piece, padded with silence, not yet scaled."""
        return features(samples, self.seconds, self.rate_hz, self.num_bands)

    def record(self, features: Float32[np.ndarray, "m t"]) -> dict[str, np.ndarray]:
        """What a network takes of these features: `mel` (m t) scaled as Whisper does, or `pixels` (h w c)."""
        return record_of(features, self.input_px, self.channels)


# What follows also goes into the `predict.py` of an export as it stands: it uses nothing of regraft but `log_mel`.

RANGE = 8.0
"""Powers of ten below the loudest place that are told apart (80 dB), as Whisper does."""
QUIET = -2.0
"""The loudest place counts as at least this, so that silence and faint noise stay dark. Our choice."""


def features(
    samples: Float32[np.ndarray, " s"], seconds: float, rate_hz: int, num_bands: int
) -> Float32[np.ndarray, "m t"]:
    """Log-mel features of one piece, padded with silence, not yet scaled."""
    length = round(seconds * rate_hz)
    padded = np.pad(samples[:length], (0, max(0, length - len(samples))))
    return log_mel(padded, rate_hz, num_bands)[:, : round(seconds / HOP_S)]


def record_of(found: Float32[np.ndarray, "m t"], input_px: Sequence[int], channels: int) -> dict[str, np.ndarray]:
    """Features as numbers, `mel` (m t), or as bytes, `pixels` (h w c)."""
    loudest = float(found.max())
    if not input_px:
        return {"mel": ((np.maximum(found, loudest - RANGE) + 4) / 4).astype(np.float32)}
    from PIL import Image

    height, width = input_px
    shown = Image.fromarray(np.ascontiguousarray(found[::-1])).resize((width, height), Image.Resampling.BILINEAR)
    scaled = np.clip((np.asarray(shown) - (max(loudest, QUIET) - RANGE)) * (255 / RANGE), 0, 255)
    return {"pixels": np.repeat(np.rint(scaled).astype(np.uint8)[:, :, None], channels, axis=2)}
