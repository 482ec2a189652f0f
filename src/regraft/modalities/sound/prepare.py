"""Preparation of recordings: what speech networks take, or spectrograms as 8-bit images for image networks.

The latter lets GoogLeNet process sound: rows are mel bands with high ones on top, columns are time, all channels
are equal, and 0 to 255 cover the 80 dB below the loudest point. To a network trained on photographs it is an image, so
that no code outside the modality has to handle sound.

Letters: s samples, t frames, m mel bands, h and w height and width in pixels, c channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32

from regraft.errors import BadRecipe
from regraft.identity import digest_bytes
from regraft.modalities.sound.mel import HOP_S, fbank, log_mel, mel_power
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
    form: Literal["mel", "samples", "fbank", "power"] = "mel"
    """What the network takes: log-mel features scaled as in Whisper; the samples, with the number that are heard
    (wav2vec 2.0, HuBERT); Kaldi's filter banks (AST); or the power in mel bands (Resemblyzer)."""
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
        without = {*(() if self.max_target_tokens else WRITTEN), *(("form",) if self.form == "mel" else ())}
        return {name: value for name, value in fields.items() if name not in without}

    def scaled_to(self, input_px: int) -> "Preparation":
        """Return the same preparation for a square input of `input_px` pixels."""
        return replace(self, input_px=(input_px, input_px)) if self.input_px else self

    def features(self, samples: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, "m t"]:
        """Compute the features of one piece, not yet scaled."""
        return features(samples, vars(self))

    def record(self, features: Float32[np.ndarray, "m t"]) -> dict[str, np.ndarray]:
        """Return the network input for these features."""
        return record_of(features, vars(self))


# The code below is also copied into the `predict.py` of an export; of regraft it uses `log_mel`, `fbank` and
# `mel_power` only.

RANGE = 8.0
"""Dynamic range below the loudest point, as a power of ten: 80 dB, as in Whisper."""
QUIET = -2.0
"""Minimum of the loudest point, so that silence and faint noise stay dark. Our choice."""
VOICE = 10**-1.5
"""Root mean square that quieter voices are amplified to for Resemblyzer: -30 dB relative to full scale."""


def features(samples: Float32[np.ndarray, " s"], told: Mapping[str, Any]) -> Float32[np.ndarray, "m t"]:
    """Compute the features of one piece, not yet scaled: bands by frames, padded with silence; or what is not padding,
    as filter banks or samples (1 s)."""
    rate_hz, num_bands, form = told["rate_hz"], told["num_bands"], told["form"]
    frames, length = round(told["seconds"] / HOP_S), round(told["seconds"] * rate_hz)
    samples = samples[:length]
    if form == "samples":
        return samples[None]
    if form == "fbank":
        return fbank(samples, rate_hz, num_bands)[:, :frames]
    size = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if form == "power" else 0.0
    samples = np.pad(samples, (0, length - len(samples)))
    if form == "power":
        samples = samples * np.float32(VOICE / size) if 0 < size < VOICE else samples
        return mel_power(samples, rate_hz, num_bands, "constant")[:, :frames].astype(np.float32)
    return log_mel(samples, rate_hz, num_bands)[:, :frames]


def record_of(found: Float32[np.ndarray, "m t"], told: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return features as the network's input, by its name: `mel` (m t), `fbank` or `power` (t m), `samples` (s) and how
    many are `heard`, or 8-bit `pixels` (h w c)."""
    if told["form"] == "samples":
        heard, length = found.shape[1], round(told["seconds"] * told["rate_hz"])
        return {"samples": np.pad(found[0], (0, length - heard)), "heard": np.array([heard], dtype=np.int32)}
    if told["form"] != "mel":
        frames = round(told["seconds"] / HOP_S)
        return {told["form"]: np.ascontiguousarray(np.pad(found, ((0, 0), (0, frames - found.shape[1]))).T)}
    loudest = float(found.max())
    if not told["input_px"]:
        return {"mel": ((np.maximum(found, loudest - RANGE) + 4) / 4).astype(np.float32)}
    from PIL import Image

    height, width = told["input_px"]
    shown = Image.fromarray(np.ascontiguousarray(found[::-1])).resize((width, height), Image.Resampling.BILINEAR)
    scaled = np.clip((np.asarray(shown) - (max(loudest, QUIET) - RANGE)) * (255 / RANGE), 0, 255)
    return {"pixels": np.repeat(np.rint(scaled).astype(np.uint8)[:, :, None], told["channels"], axis=2)}
