"""Examples whose size, shape, brightness or sharpness is odd. Every modality says what it measures."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.modality import Trait
from regraft.contracts.page import Finding
from regraft.values import shown
from regraft.words import counted

FAR = 6.0
"""An example is odd where the logarithm of its trait lies more than so many robust standard deviations from the median
(Iglewicz & Hoaglin 1993 take 3.5; sizes and sharpness have long tails, so more is our choice) …"""
LEAST = 0.12
"""… a standard deviation being taken for this at least: what differs by less than a factor of two is not odd."""


def run(view: SessionView) -> Iterator[Finding]:
    """A finding for every trait that some examples are odd in."""
    for trait in view.traits:
        odd = outside(trait)
        if not odd.any():
            continue
        usual = float(np.nanmedian(trait.values))
        worst = np.flatnonzero(odd)[np.argsort(-abs(trait.values[odd] - usual), kind="stable")]
        first = trait.values[worst[0]]
        most = len(worst) > 0.5 * int(np.isfinite(trait.values).sum())
        yield Finding(
            check=f"{ENTRY.title}: {trait.name}", severity="warn" if most else "info", score=len(worst) / len(odd),
            examples=view.ids(worst),
            message=f"The {trait.name} of {counted(len(worst), view.modality.one, view.modality.many)} of "
            f"{len(odd):,} is {'out of range' if most else 'unusual'}: {shown(float(first))}{trait.unit}, for "
            f"instance; the median of all is {shown(usual)}{trait.unit}.",
            fix=trait.advice,
        )  # fmt: skip


def outside(trait: Trait) -> Bool[np.ndarray, " n"]:
    """Which examples are odd in this trait."""
    known = np.isfinite(trait.values)
    odd = known & ((trait.values < trait.range[0]) | (trait.values > trait.range[1]))
    if trait.outliers and known.any():
        logs = np.log(np.maximum(trait.values, 1e-6), where=known, out=np.zeros(len(known)))
        centre = np.median(logs[known])
        spread = max(LEAST, 1.4826 * float(np.median(abs(logs[known] - centre))))
        odd |= known & (abs(logs - centre) > FAR * spread)
    return odd


ENTRY = Check(title="Odd examples", run=run)
