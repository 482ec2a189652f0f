"""Preparation of recordings: log-mel features, or spectrograms as 8-bit images for image networks.

The second form lets GoogLeNet process sound: rows are mel bands with high ones on top, columns are time, all channels
are equal, and 0 to 255 cover the 80 dB below the loudest point. To a network trained on photographs it is an image, so
that no code outside the modality has to handle sound.

Letters: s samples, t frames, m mel bands, h and w height and width in pixels, c channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from regraft.errors import BadRecipe
from regraft.identity import digest_bytes
from regraft.modalities.sound.mel import HOP_S, log_mel
from regraft.modalities.text.tokens import Written

WRITTEN = tuple(Written.__dataclass_fields__)
"""Names of the fields that only a network with a decoder needs."""


@dataclass(frozen=True, kw_only=True)
class Preparation(Written):
    """How recordings are turned into network inputs, and their transcripts into a decoder's."""

    lead: ClassVar[str] = " "
    seconds: float = 2.0
    """Length of a piece in seconds: shorter recordings are padded with silence at the end, longer ones cropped to their
    middle."""
    step_seconds: float = 0.0
    """Seconds from the start of one piece to the next, to cover a long recording completely; 0: one piece."""
    rate_hz: int = 16000
    """Sampling rate that recordings are resampled to, in hertz."""
    num_bands: int = 80
    """Number of mel bands."""
    input_px: tuple[int, ...] = ()
    """Height and width of the spectrogram as an image; empty: features are passed on as floating-point numbers."""
    channels: int = 3
    """Number of (equal) channels of that image."""

    def __post_init__(self) -> None:
        for name, holds, wanted in (
            ("seconds", 0.05 <= self.seconds <= 600, "from 0.05 to 600"),
            ("step_seconds", self.step_seconds == 0 or 0.01 <= self.step_seconds <= self.seconds,
             "0, or from 0.01 to the seconds of a piece"),
            ("step_seconds", not (self.step_seconds and self.max_target_tokens),
             "0, since a transcript is one of the whole recording"),
            ("rate_hz", 1000 <= self.rate_hz <= 384_000 and self.rate_hz % 100 == 0,
             "a multiple of 100 from 1000 to 384000"),
            ("num_bands", 8 <= self.num_bands <= 256, "from 8 to 256"),
            ("input_px", len(self.input_px) in (0, 2), "height and width"),
        ):  # fmt: skip
            if not holds:
                raise BadRecipe(f"prepare.{name} is {getattr(self, name)}; it must be {wanted}.",
                                fix="leave it out to use the default.")  # fmt: skip
        self.check_decoder()

    @property
    def frames(self) -> int:
        """Number of frames of a piece's features."""
        return round(self.seconds / HOP_S)

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines the network input, as JSON, for the key of the activation store."""
        fields = {"rule": "regraft-log-mel-1", **self.to_json(), "tokenizer": digest_bytes(self.tokenizer.encode())}
        return {name: value for name, value in fields.items() if self.max_target_tokens or name not in WRITTEN}

    def scaled_to(self, input_px: int) -> "Preparation":
        """Return the same preparation for a square input of `input_px` pixels."""
        return replace(self, input_px=(input_px, input_px)) if self.input_px else self

    def features(self, samples: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, "m t"]:
        """Compute log-mel features of one piece, padded with silence and not yet scaled."""
        return features(samples, self.seconds, self.rate_hz, self.num_bands)

    def record(self, features: Float32[np.ndarray, "m t"]) -> dict[str, np.ndarray]:
        """Return the network input for these features: `mel` (m t), scaled as in Whisper, or `pixels` (h w c)."""
        return record_of(features, self.input_px, self.channels)


# The code below is also copied into the `predict.py` of an export; of regraft it uses `log_mel` only.

RANGE = 8.0
"""Dynamic range below the loudest point, as a power of ten: 80 dB, as in Whisper."""
QUIET = -2.0
"""Minimum of the loudest point, so that silence and faint noise stay dark. Our choice."""


def features(
    samples: Float32[np.ndarray, " s"], seconds: float, rate_hz: int, num_bands: int
) -> Float32[np.ndarray, "m t"]:
    """Compute log-mel features of one piece, padded with silence and not yet scaled."""
    length = round(seconds * rate_hz)
    padded = np.pad(samples[:length], (0, max(0, length - len(samples))))
    return log_mel(padded, rate_hz, num_bands)[:, : round(seconds / HOP_S)]


def record_of(found: Float32[np.ndarray, "m t"], input_px: Sequence[int], channels: int) -> dict[str, np.ndarray]:
    """Return features as floating-point numbers, `mel` (m t), or as 8-bit pixels, `pixels` (h w c)."""
    loudest = float(found.max())
    if not input_px:
        return {"mel": ((np.maximum(found, loudest - RANGE) + 4) / 4).astype(np.float32)}
    from PIL import Image

    height, width = input_px
    shown = Image.fromarray(np.ascontiguousarray(found[::-1])).resize((width, height), Image.Resampling.BILINEAR)
    scaled = np.clip((np.asarray(shown) - (max(loudest, QUIET) - RANGE)) * (255 / RANGE), 0, 255)
    return {"pixels": np.repeat(np.rint(scaled).astype(np.uint8)[:, :, None], channels, axis=2)}
