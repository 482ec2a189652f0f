"""Augmented views of a recording: shifts in time, changes of speed, noise, and masked time spans and frequency bands.

View k is a pure function of the seed, of k and of the content, from raw 64-bit outputs of PCG64. Masks are filled with
the mean of the features. Sources: Park et al. 2019, arXiv:1904.08779 (masks); Ko et al. 2015 (speed). Letters: s
samples, t frames, m mel bands.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32

from regraft.contracts.modality import View
from regraft.errors import BadRecipe
from regraft.identity import derive_seed
from regraft.modalities.sound.resample import resampled


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of recordings."""

    shift: float = 0.0
    """Maximum shift, earlier or later, as a share of a piece; in [0, 0.5]."""
    speed: float = 0.0
    """Maximum change of speed (and so of pitch): a factor from 1 ± this, in steps of 0.01; in [0, 0.5]."""
    noise: float = 0.0
    """Maximum level of added white noise, as a share of the recording's root mean square; in [0, 1]."""
    time_masks: int = 0
    """Number of masked time spans; 0 or more."""
    band_masks: int = 0
    """Number of masked ranges of mel bands; 0 or more."""
    mask_share: float = 0.15
    """Maximum length of a mask as a share of all frames or bands, in (0, 0.5]; no effect without masks."""

    def __post_init__(self) -> None:
        wrong = [name for name in ("shift", "speed") if not 0 <= getattr(self, name) <= 0.5]
        wrong += ["noise"] if not 0 <= self.noise <= 1 else []
        wrong += [name for name in ("time_masks", "band_masks") if getattr(self, name) < 0]
        wrong += ["mask_share"] if not 0 < self.mask_share <= 0.5 else []
        if wrong:
            raise BadRecipe(
                f"The augmentation's {wrong[0]} is {getattr(self, wrong[0])}, out of range.",
                fix="shift and speed must be in [0, 0.5], noise in [0, 1], masks 0 or more, mask_share in (0, 0.5].",
            )

    @property
    def varies(self) -> bool:
        """Whether any view can differ from the plain one."""
        return bool(self.shift or self.speed or self.noise or self.time_masks or self.band_masks)

    def digest_fields(self) -> dict[str, Any]:
        """Return everything that determines a view, as JSON, for the key of the activation store."""
        return {"rule": "regraft-sound-view-1", **asdict(self)}


PRESETS: Mapping[str, Augmentation] = MappingProxyType(
    {
        "default": Augmentation(shift=0.1, speed=0.1, noise=0.1, time_masks=1, band_masks=1),
        "strong": Augmentation(shift=0.2, speed=0.15, noise=0.3, time_masks=2, band_masks=2),
        "none": Augmentation(),
    }
)
"""Named augmentations. The strengths are our choice."""


def augmented(
    samples: Float32[np.ndarray, " s"], rate_hz: int, length: int, view: View
) -> tuple[Float32[np.ndarray, " r"], int, Callable[[Float32[np.ndarray, "m t"]], Float32[np.ndarray, "m t"]]]:
    """Return a view's samples for a piece of `length` samples, how many of them are not padding at the end, and a
    function that masks its features."""
    of, source = view.augmentation, np.random.PCG64(derive_seed(view.seed, "view", view.number, view.content))

    def draw(count: int = 1) -> np.ndarray:
        """Draw 53-bit numbers in [0, 1)."""
        return (source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    speed, shift, noise = draw(3).tolist()
    if of.speed:
        samples = resampled(samples, 100 + round(100 * of.speed * (2 * speed - 1)), 100)
    moved = round(of.shift * (2 * shift - 1) * length)
    samples = np.pad(samples, (moved, 0)) if moved > 0 else samples[min(-moved, len(samples) - 1) :]
    heard = min(len(samples), length)
    samples = np.pad(samples[:length], (0, length - heard))
    if of.noise:
        size = of.noise * noise * float(np.sqrt(np.mean(samples**2)))
        samples = samples + (size * np.sqrt(3) * (2 * draw(length) - 1)).astype(np.float32)

    def masked(features: Float32[np.ndarray, "m t"]) -> Float32[np.ndarray, "m t"]:
        made, mean = features.copy(), features.mean()
        for axis, count in ((1, of.time_masks), (0, of.band_masks)):
            size = features.shape[axis]
            for _ in range(count):
                long, start = draw(2).tolist()
                width = round(long * of.mask_share * size)
                first = int(start * (size - width + 1))
                np.moveaxis(made, axis, 0)[first : first + width] = mean
        return made

    return samples.astype(np.float32), heard, masked
