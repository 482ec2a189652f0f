"""Colours and brightness that belong to a group (a slide's stain, a camera) or tell the class by themselves."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from regraft.audit.telling import accuracy_of_probe, supposed_groups, told_by
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding

MIN_SHARE = 0.3
"""Share of a trait's variance between groups from which on it is said. Our choice."""


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on both."""
    traits, groups = [one for one in view.traits if one.seen], supposed_groups(view)
    if not traits:
        return
    told = told_by(view, traits) if view.task.exclusive else None
    tells = told is not None and told.tells
    said = []
    if told is not None and tells:
        probe = accuracy_of_probe(view)
        compared = "" if probe is None else f"; the probe, which sees everything: {probe:.2f}"
        said.append(
            f"Mean colour, brightness and contrast alone tell the class: balanced accuracy {told.accuracy.told()}"
            f"{' on other groups' if groups is not None else ''}, {told.chance:.2f} by chance{compared}."
        )
    if groups is not None:
        shares = {one.name: between(one.values, groups) for one in traits}
        name = max(shares, key=lambda one: shares[one])
        if said or shares[name] > MIN_SHARE:
            said.append(
                f"{shares[name]:.0%} of the variance of the {name} lies between the {len(np.unique(groups))} groups: "
                "each has colours of its own, such as a stain, a camera or the light leaves."
            )
    if said:
        yield Finding(
            check=ENTRY.title, severity="warn" if tells and groups is not None else "info", message=" ".join(said),
            score=told.accuracy.value if told is not None and tells else None,
            fix="keep each group in one split, report by group, and try `--augmentation colour`; test on groups from "
            "elsewhere." if groups is not None else "try `--augmentation colour`; test on data from elsewhere.",
        )  # fmt: skip


def between(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> float:
    """The share of the variance that lies between groups, corrected for their number (epsilon squared: Kelley 1935)."""
    known = np.isfinite(values)
    values, code = values[known], np.unique(groups[known], return_inverse=True)[1]
    counts = np.bincount(code)
    if len(counts) < 2 or len(values) <= len(counts) or not np.ptp(values):
        return 0.0
    means = np.bincount(code, values) / counts
    inside = float(((values - means[code]) ** 2).sum()) / (len(values) - len(counts))
    return max(0.0, 1 - inside / float(values.var(ddof=1)))


ENTRY = Check(title="Colours", run=run)
