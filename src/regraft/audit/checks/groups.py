"""Patients, plants, recordings: names that look like theirs, splits that part them, too few of them, and groups that
are as good as classes."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.data.labels import suggested_groups
from regraft.evaluation.intervals import MIN_GROUPS
from regraft.words import counted, named

MIN_IN_CLASS = 10
"""With fewer groups in a class, a model may learn these instead of the class. Our choice."""


def run(view: SessionView) -> Iterator[Finding]:
    """Findings on the user's groups, or on those that names suggest."""
    groups, fix, sure = view.groups, "", True
    if groups is None:
        found = suggested_groups([one.id for one in view.examples])
        if found is None:
            return
        groups, sure = np.unique(np.array(found.names), return_inverse=True)[1], False
        fix = f" If the names do tell groups, add --group-pattern '{found.pattern}'."
        yield Finding(
            check=f"{ENTRY.title}: in names", severity="warn", score=float(groups.max() + 1),
            examples=view.ids(np.flatnonzero(groups == np.bincount(groups).argmax())[:6]),
            message=f"The names look as if the examples came from {counted(int(groups.max()) + 1, 'group')}, such as "
            "patients, plants or recordings; no groups were given, so folds and intervals treat all as independent.",
            fix=fix.strip(),
        )  # fmt: skip
    supposed = "" if sure else " that the names suggest"
    yield from _crossing(view, groups, supposed, sure, fix)
    yield from _few(view, groups, supposed, fix)


def _crossing(
    view: SessionView, groups: Int[np.ndarray, " n"], supposed: str, sure: bool, fix: str
) -> Iterator[Finding]:
    parts = [set(view.splits[groups == group].tolist()) for group in range(int(groups.max()) + 1)]
    shared = [group for group, splits in enumerate(parts) if len(splits) > 1]
    if not shared:
        return
    seen = np.flatnonzero(np.isin(groups, shared) & (view.splits != "train"))
    yield Finding(
        check=f"{ENTRY.title}: across splits", severity="stop" if sure else "warn", score=len(shared) / len(parts),
        examples=view.ids(seen),
        message=f"{counted(len(shared), 'group')} of {len(parts):,}{supposed} lie in several splits; "
        f"{counted(len(seen), 'validation or test example')} are of groups that training knows.",
        fix=f"{fix} `--fix-split` then writes a table in which each group is in one split.".strip(),
    )  # fmt: skip


def _few(view: SessionView, groups: Int[np.ndarray, " n"], supposed: str, fix: str) -> Iterator[Finding]:
    for split in dict.fromkeys(view.splits.tolist()):
        number = len(np.unique(groups[view.splits == split]))
        if split != "train" and number < MIN_GROUPS:
            yield Finding(
                check=f"{ENTRY.title}: too few", severity="warn", score=float(number),
                message=f"{f'The {split} split has' if split else 'There are'} {counted(number, 'group')}{supposed}; "
                f"under {MIN_GROUPS} say little about a new one, and no interval is given.",
                fix="collect more patients, plants or sites rather than more examples of these.",
            )  # fmt: skip
    if not view.task.exclusive or not view.task.classes:
        return
    learned = np.isin(view.splits, ("", "train"))
    per_class = {
        name: len(np.unique(groups[learned & (view.targets == at)])) for at, name in enumerate(view.task.classes)
    }
    several = np.bincount(groups) > 1
    pairs = np.unique(np.stack([groups, view.targets], axis=1), axis=0)
    pure = np.bincount(pairs[:, 0], minlength=len(several)) == 1
    few = [f"{name} ({number})" for name, number in per_class.items() if 0 < number < MIN_IN_CLASS]
    share = float(pure[several].mean()) if several.any() else 0.0
    if few and share > 0.5:
        yield Finding(
            check=f"{ENTRY.title}: as good as classes", severity="warn", score=share,
            message=f"{share:.0%} of the groups{supposed} are of one class, and classes have few of them in training: "
            f"{named(few)}. What tells these few groups apart, such as a stain or a device, may be learned "
            "instead of the class.",
            fix=f"collect examples of both classes from the same groups, or of more groups.{fix}",
        )  # fmt: skip


ENTRY = Check(title="Groups", run=run)
