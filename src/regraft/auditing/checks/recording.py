"""Checks of recording conditions: traits that identify a group or class, outliers, channel statistics far from the
source's."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.auditing.telling import accuracy_of_probe, supposed_groups, told_by
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.modality import Trait
from regraft.contracts.page import Finding
from regraft.values import shown
from regraft.words import counted, listed

MIN_SHARE = 0.3
"""Share of a trait's variance between groups from which it is reported. Our choice."""


def appearance(view: SessionView) -> Iterator[Finding]:
    """Check for colours and brightness that are typical of a group (a slide's stain, a camera) or predict the class on
    their own.

    Yields one finding for both.
    """
    traits, groups = [one for one in view.traits if one.seen], supposed_groups(view)
    if not traits:
        return
    told = told_by(view, traits) if view.task.exclusive else None
    tells = told is not None and told.tells
    said = []
    if told is not None and tells:
        probe = accuracy_of_probe(view)
        compared = "" if probe is None else f"; the probe on the full inputs: {probe:.2f}"
        said.append(
            f"Mean colour, brightness and contrast alone predict the class: balanced accuracy {told.accuracy.told()}"
            f"{' on unseen groups' if groups is not None else ''}, {told.chance:.2f} by chance{compared}."
        )
    if groups is not None:
        shares = {one.name: between(one.values, groups) for one in traits}
        name = max(shares, key=lambda one: shares[one])
        if said or shares[name] > MIN_SHARE:
            said.append(
                f"{shares[name]:.0%} of the variance of the {name} lies between the {len(np.unique(groups))} groups: "
                "each has characteristic colours, as left by a stain, a camera or the light."
            )
    if said:
        yield Finding(
            check="Colours", severity="warn" if tells and groups is not None else "info", message=" ".join(said),
            score=told.accuracy.value if told is not None and tells else None,
            fix="keep each group in one split, report by group, and try `--augmentation colour`; test on groups from "
            "elsewhere." if groups is not None else "try `--augmentation colour`; test on data from elsewhere.",
        )  # fmt: skip


def between(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> float:
    """Return the share of the variance between groups, corrected for their number (epsilon squared: Kelley 1935)."""
    known = np.isfinite(values)
    values, code = values[known], np.unique(groups[known], return_inverse=True)[1]
    counts = np.bincount(code)
    if len(counts) < 2 or len(values) <= len(counts) or not np.ptp(values):
        return 0.0
    means = np.bincount(code, values) / counts
    inside = float(((values - means[code]) ** 2).sum()) / (len(values) - len(counts))
    return max(0.0, 1 - inside / float(values.var(ddof=1)))


def giveaway(view: SessionView) -> Iterator[Finding]:
    """Check whether recording and storage (a border, a format, a size) predict the class; a model may learn these
    instead of the content. Yields one finding on traits of the recording alone, one on traits that also depend on the
    content."""
    if not view.task.exclusive:
        return
    for degree, what in (("wholly", ""), ("partly", ": file size")):
        traits = [one for one in view.traits if one.recorded == degree]
        together = told_by(view, traits) if traits else None
        if together is None or not together.tells:
            continue
        alone = {one.name: found for one in traits if (found := told_by(view, [one], trees=1)) is not None}
        name = max(alone, key=lambda one: alone[one].accuracy.value, default="")
        best = alone.get(name, together)
        sure = degree == "wholly"
        yield Finding(
            check=f"Class predictable from the recording{what}", severity="warn" if sure else "info",
            score=together.accuracy.value, examples=view.ids(best.examples),
            message=f"Without looking at the content, {'file metadata predict' if sure else 'the file size predicts'} "
            f"the class: balanced accuracy {together.accuracy.told()}, {together.chance:.2f} by chance. "
            + (f"The {name} alone: {best.accuracy.told()}, highest in {best.label}. " if name else "")
            + ("A model may learn this shortcut instead." if sure else "This may or may not follow from the content."),
            fix="record and prepare all classes identically: crop borders, convert all files; test on data "
            "from elsewhere." if sure else "compare with the accuracy of the probe; test on data from elsewhere.",
        )  # fmt: skip


FAR = 6.0
"""Number of robust standard deviations from the median beyond which the logarithm of a trait is an outlier (Iglewicz &
Hoaglin 1993 use 3.5; sizes and sharpness have long tails, so more is our choice)."""
LEAST = 0.12
"""Minimum of that standard deviation, so that values within a factor of two of the median are not outliers."""


def odd_examples(view: SessionView) -> Iterator[Finding]:
    """Find outliers in size, shape, brightness or sharpness; each modality defines what it measures.

    Yields a finding for every trait with outliers.
    """
    for trait in view.traits:
        odd = outside(trait)
        if not odd.any():
            continue
        usual = float(np.nanmedian(trait.values))
        worst = np.flatnonzero(odd)[np.argsort(-abs(trait.values[odd] - usual), kind="stable")]
        first = trait.values[worst[0]]
        most = len(worst) > 0.5 * int(np.isfinite(trait.values).sum())
        yield Finding(
            check=f"Odd examples: {trait.name}", severity="warn" if most else "info", score=len(worst) / len(odd),
            examples=view.ids(worst),
            message=f"The {trait.name} of {counted(len(worst), view.modality.one, view.modality.many)} of "
            f"{len(odd):,} is {'out of range' if most else 'unusual'}: {shown(float(first))}{trait.unit}, for "
            f"example; the overall median is {shown(usual)}{trait.unit}.",
            fix=trait.advice,
        )  # fmt: skip


def outside(trait: Trait) -> Bool[np.ndarray, " n"]:
    """Return a mask of the outliers in this trait."""
    known = np.isfinite(trait.values)
    odd = known & ((trait.values < trait.range[0]) | (trait.values > trait.range[1]))
    if trait.outliers and known.any():
        logs = np.log(np.maximum(trait.values, 1e-6), where=known, out=np.zeros(len(known)))
        centre = np.median(logs[known])
        spread = max(LEAST, 1.4826 * float(np.median(abs(logs[known] - centre))))
        odd |= known & (abs(logs - centre) > FAR * spread)
    return odd


SAMPLE = 64
"""Number of examples to measure."""
MAX_SHIFT, RATIOS = 1.0, (0.35, 1.8)
"""Maximum shift of a channel's mean, in standard deviations of the source; minimum and maximum ratio of the standard
deviations. Our choice."""


def source_statistics(view: SessionView) -> Iterator[Finding]:
    """Compare channel statistics with those of the examples that the backbone was trained on.

    Yields one finding if channels are shifted or scaled, one if they are all equal.
    """
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
            check="Statistics unlike the backbone's", severity="info", score=float(abs(shift).max()),
            message=f"The channel means are {listed([f'{one:+.1f}' for one in shift])} standard deviations away from "
            f"those of the pretraining data of {view.card.name}; the standard deviations are "
            f"{listed([f'{one:.1f}' for one in ratio])} times as large. Frozen features are then less informative.",
            fix="compare with retraining more stages (`--strategy full`) and with other backbones.",
        )  # fmt: skip
    if pixels.shape[1] == 3 and float(abs(pixels - pixels[:, :1]).max()) < 0.02:
        yield Finding(
            check="Statistics unlike the backbone's: grey", severity="info",
            message=f"All channels are identical; {view.card.name} was trained on colour images.",
            fix="none needed; `--set channels=1`, which adapts the first layer, is equally good.",
        )  # fmt: skip


NAMES = ("appearance", "giveaway", "odd_examples", "source_statistics")
ENTRIES = {
    "appearance": Check(title="Colours", run=appearance),
    "giveaway": Check(title="Class predictable from the recording", run=giveaway),
    "odd_examples": Check(title="Odd examples", run=odd_examples),
    "source_statistics": Check(title="Statistics unlike the backbone's", run=source_statistics, needs_features=True),
}
