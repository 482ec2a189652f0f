"""Mel spectrograms as speech networks expect them.

Letters: s samples, t frames, f frequencies of the Fourier transform, m mel bands.

Periodic Hann windows of 25 ms every 10 ms, the power spectrum, triangular bands of equal width on Slaney's mel scale
and of equal area, and log10 of at least 1e-10. At 16 kHz with 80 bands these are Whisper's features before scaling
(Radford et al. 2022, arXiv:2212.04356, section 2.2); tests compare with them. Source of the scale: Slaney 1998,
Auditory Toolbox; librosa's `filters.mel`. Filter banks in the manner of Kaldi are those of AST (`fbank`).
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

WINDOW_S, HOP_S = 0.025, 0.01
"""Window length and hop length in seconds."""
FLOOR = 1e-10
"""Minimum power, applied before the logarithm."""


def log_mel(samples: Float32[np.ndarray, " s"], rate_hz: int, num_bands: int) -> Float32[np.ndarray, "m t"]:
    """Compute log10 of the power in each mel band, low bands first, with one column per 10 ms; the samples are mirrored
    at both ends."""
    return np.log10(np.maximum(mel_power(samples, rate_hz, num_bands, "reflect"), FLOOR)).astype(np.float32)


def mel_power(
    samples: Float32[np.ndarray, " s"], rate_hz: int, num_bands: int, edge: Literal["reflect", "constant"]
) -> Float[np.ndarray, "m t"]:
    """Compute the power in each mel band, low bands first.

    The samples are mirrored at both ends, or followed by silence, so that frame i is centred on second i / 100; inputs
    shorter than half a window are first padded with zeros.
    """
    window, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    half = window // 2
    samples = np.pad(samples, (0, max(0, half + 1 - len(samples))))
    around = np.pad(samples, (half, half), mode=edge).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(around, window)[::hop][: max(1, len(samples) // hop)]
    power = np.abs(np.fft.rfft(frames * _hann(window, window), axis=1)) ** 2
    found: np.ndarray = mel_bands(rate_hz, window, num_bands) @ power.T
    return found


def fbank(samples: Float32[np.ndarray, " s"], rate_hz: int, num_bands: int) -> Float32[np.ndarray, "m t"]:
    """Compute Kaldi's log filter banks as AST uses them: frames that lie within the samples, without their mean, with
    pre-emphasis; bands from 20 Hz on, triangular on the scale `1127 ln(1 + f / 700)`. Inputs shorter than a window are
    first padded with zeros. Source: torchaudio.compliance.kaldi.fbank."""
    window, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    size = 1 << (window - 1).bit_length()
    samples = np.pad(samples, (0, max(0, window - len(samples)))).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - EMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * _hann(window, window - 1), size, axis=1)) ** 2
    lowest, highest = (1127 * np.log(1 + hertz / 700) for hertz in (20.0, rate_hz / 2))
    places = 1127 * np.log(1 + np.linspace(0, rate_hz / 2, 1 + size // 2) / 700)
    bands = _triangles(np.linspace(lowest, highest, num_bands + 2), places)
    return np.log(np.maximum(bands @ power.T, SMALLEST)).astype(np.float32)


EMPHASIS, SMALLEST = 0.97, float(np.finfo(np.float32).eps)
"""Kaldi's pre-emphasis, and its minimum power."""


def _hann(window: int, period: int) -> Float[np.ndarray, " w"]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / period)


def _triangles(edges: Float[np.ndarray, " e"], places: Float[np.ndarray, " f"]) -> Float[np.ndarray, "m f"]:
    """Return the weight of every place in the triangles between each three edges in turn."""
    rising = (places[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


@lru_cache(maxsize=8)
def mel_bands(rate_hz: int, window: int, num_bands: int) -> Float[np.ndarray, "m f"]:
    """Return the weight of every frequency, from 0 Hz to half the sampling rate, in every band."""
    edges = _to_hz(np.linspace(0.0, _to_mel(rate_hz / 2), num_bands + 2))
    frequencies = np.linspace(0, rate_hz / 2, 1 + window // 2)
    return _triangles(edges, frequencies) * (2 / (edges[2:] - edges[:-2]))[:, None]


_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
"""Slaney's scale: hertz per mel below the break, the break in hertz, and the logarithmic step per mel above it."""


def _to_mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + float(np.log(hertz / _BREAK_HZ)) / _LOG_STEP


def _to_hz(mels: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    at_break = _BREAK_HZ / _LINEAR_HZ
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, at_break) - at_break))
    return np.where(mels < at_break, mels * _LINEAR_HZ, above)
