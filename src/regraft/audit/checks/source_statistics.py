"""Channel statistics far from those of the examples that the backbone was trained on."""

from collections.abc import Iterator

import numpy as np

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import listed

SAMPLE = 64
"""Examples that are looked at."""
MAX_SHIFT, RATIOS = 1.0, (0.35, 1.8)
"""Largest shift of a channel's mean, in standard deviations of the source; smallest and largest ratio of the standard
deviations. Our choice."""


def run(view: SessionView) -> Iterator[Finding]:
    """One finding where channels are shifted or scaled, one where they are all the same."""
    if view.record is None or not view.card.channels:
        return
    whole = np.flatnonzero(view.usable)
    some = np.sort(np.random.default_rng(view.seed).permutation(whole)[:SAMPLE])
    cells = [next(iter(view.record(at).values())) for at in some.tolist()]
    pixels = np.concatenate([one.reshape(-1, one.shape[-1]) for one in cells]).astype(np.float32) / 255
    if pixels.shape[1] != view.card.channels:
        return
    mean, std = np.array(view.card.mean), np.array(view.card.std)
    shift, ratio = (pixels.mean(axis=0) - mean) / std, pixels.std(axis=0) / std
    if abs(shift).max() > MAX_SHIFT or ratio.min() < RATIOS[0] or ratio.max() > RATIOS[1]:
        yield Finding(
            check=ENTRY.title, severity="info", score=float(abs(shift).max()),
            message=f"The channels' means lie {listed([f'{one:+.1f}' for one in shift])} standard deviations from "
            f"those of what {view.card.name} was trained on; their own standard deviations are "
            f"{listed([f'{one:.1f}' for one in ratio])} times as large. Frozen features say less then.",
            fix="compare with retraining more (`--strategy full`), and with other backbones.",
        )  # fmt: skip
    if pixels.shape[1] == 3 and float(abs(pixels - pixels[:, :1]).max()) < 0.02:
        yield Finding(
            check=f"{ENTRY.title}: grey", severity="info",
            message=f"All channels are the same; {view.card.name} was trained on colour.",
            fix="nothing; or `--set channels=1`, which adapts the first layer and is as good.",
        )  # fmt: skip


ENTRY = Check(title="Statistics unlike the backbone's", run=run, needs_features=True)
