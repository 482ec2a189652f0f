"""Log-mel spectrograms.

Letters: s samples, t frames, f frequencies of the Fourier transform, m mel bands.

Periodic Hann windows of 25 ms every 10 ms, the power spectrum, triangular bands of equal width on Slaney's mel scale
and of equal area, and log10 of at least 1e-10. At 16 kHz with 80 bands these are Whisper's features before scaling
(Radford et al. 2022, arXiv:2212.04356, section 2.2); tests compare with them. Source of the scale: Slaney 1998,
Auditory Toolbox; librosa's `filters.mel`.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32

WINDOW_S, HOP_S = 0.025, 0.01
"""Window length and hop length in seconds."""
FLOOR = 1e-10
"""Minimum power, applied before the logarithm."""


def log_mel(samples: Float32[np.ndarray, " s"], rate_hz: int, num_bands: int) -> Float32[np.ndarray, "m t"]:
    """Compute log10 of the power in each mel band, low bands first, with one column per 10 ms.

    The samples are mirrored at both ends, so that frame i is centred on second i / 100; inputs shorter than half a
    window are first padded with zeros.
    """
    window, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    half = window // 2
    samples = np.pad(samples, (0, max(0, half + 1 - len(samples))))
    around = np.pad(samples, (half, half), mode="reflect").astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(around, window)[::hop][: max(1, len(samples) // hop)]
    power = np.abs(np.fft.rfft(frames * _hann(window), axis=1)) ** 2
    return np.log10(np.maximum(mel_bands(rate_hz, window, num_bands) @ power.T, FLOOR)).astype(np.float32)


def _hann(window: int) -> Float[np.ndarray, " w"]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


@lru_cache(maxsize=8)
def mel_bands(rate_hz: int, window: int, num_bands: int) -> Float[np.ndarray, "m f"]:
    """Return the weight of every frequency, from 0 Hz to half the sampling rate, in every band."""
    edges = _to_hz(np.linspace(0.0, _to_mel(rate_hz / 2), num_bands + 2))
    frequencies = np.linspace(0, rate_hz / 2, 1 + window // 2)
    rising = (frequencies[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


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
