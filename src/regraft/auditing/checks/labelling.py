"""Checks of labels, groups and files: small classes, groups in several splits, likely label errors, unreadable
files."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.data.labels import suggested_groups
from regraft.errors import MissingExtra
from regraft.evaluation.intervals import MIN_GROUPS
from regraft.words import counted, named

MIN = 10
"""Minimum number of examples of a class; fewer are hardly enough to learn from, and the intervals of metrics then cover
half the range."""
UNEQUAL = 10.0
"""Ratio of the largest to the smallest class from which accuracy is uninformative."""


def class_sizes(view: SessionView) -> Iterator[Finding]:
    """Check for classes that are too small for training or testing or missing from a split, and for imbalance. Limits
    are ours.

    Yields findings on each split, and one on the balance of the training examples.
    """
    if view.task.answers != "probabilities":
        return
    counts: dict[str, Counter[str]] = {}
    for example, good in zip(view.examples, view.usable.tolist(), strict=True):
        if good:
            counts.setdefault(example.split or "", Counter()).update(view.task.named(example.label))
    what = view.task.words().outputs
    for split, row in sorted(counts.items()):
        where = f" of the {split} split" if split else ""
        learned = split in ("", "train")
        lacking = [name for name in view.task.classes if not row[name]]
        few = [f"{name} ({row[name]})" for name in view.task.classes if 0 < row[name] < MIN]
        if lacking:
            yield Finding(
                check=f"Class sizes: missing{where}", severity="stop" if learned else "warn",
                score=float(len(lacking)), message=f"No usable example{where} has the label {named(lacking)}.",
                fix="add examples of it, or remove it from the data.",
            )  # fmt: skip
        if few:
            yield Finding(
                check=f"Class sizes: small{where}", severity="warn", score=float(min(row[n] for n in row if row[n])),
                message=f"Fewer than {MIN} usable examples{where} have these {what}: {named(few)}. That is too few "
                "to learn them or to evaluate them reliably.",
                fix="collect more of these first.",
            )  # fmt: skip
    row = counts.get("train") or counts.get("") or Counter()
    present = {name: row[name] for name in view.task.classes if row[name]}
    if view.task.exclusive and len(present) > 1:
        (big, most), (small, least) = (pick(present.items(), key=lambda one: one[1]) for pick in (max, min))
        if most / least >= UNEQUAL:
            yield Finding(
                check="Class sizes: unequal", severity="warn", score=most / least,
                message=f"{big} has {most / least:.0f} times as many training examples as {small} ({most:,} and "
                f"{least:,}): always predicting {big} would be {most / sum(present.values()):.0%} accurate.",
                fix="use balanced accuracy or AUROC; `--set options.balanced=true` gives every class the same "
                "weight.",
            )  # fmt: skip


MIN_IN_CLASS = 10
"""Minimum number of groups per class; with fewer, a model may learn the groups instead of the class. Our choice."""


def groups(view: SessionView) -> Iterator[Finding]:
    """Check groups (patients, plants, recordings): names that suggest groups, groups in several splits, too few groups,
    and groups that almost determine the class. Yields findings on the user's groups, or on those that names suggest."""
    groups, fix, sure = view.groups, "", True
    if groups is None:
        found = suggested_groups([one.id for one in view.examples])
        if found is None:
            return
        groups, sure = np.unique(np.array(found.names), return_inverse=True)[1], False
        fix = f" If the names do indicate groups, add --group-pattern '{found.pattern}'."
        yield Finding(
            check="Groups: in names", severity="warn", score=float(groups.max() + 1),
            examples=view.ids(np.flatnonzero(groups == np.bincount(groups).argmax())[:6]),
            message=f"The file names suggest that the examples come from {counted(int(groups.max()) + 1, 'group')}, "
            "such as "
            "patients, plants or recordings. No groups were given, so folds and intervals treat all as independent.",
            fix=fix.strip(),
        )  # fmt: skip
    supposed = "" if sure else " suggested by the names"
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
        check="Groups: across splits", severity="stop" if sure else "warn", score=len(shared) / len(parts),
        examples=view.ids(seen),
        message=f"{counted(len(shared), 'group')} of {len(parts):,}{supposed} are in several splits; "
        f"{counted(len(seen), 'validation or test example')} belong to groups seen in training.",
        fix=f"{fix} `--fix-split` then writes a table in which each group is in one split.".strip(),
    )  # fmt: skip


def _few(view: SessionView, groups: Int[np.ndarray, " n"], supposed: str, fix: str) -> Iterator[Finding]:
    for split in dict.fromkeys(view.splits.tolist()):
        number = len(np.unique(groups[view.splits == split]))
        if split != "train" and number < MIN_GROUPS:
            yield Finding(
                check="Groups: too few", severity="warn", score=float(number),
                message=f"{f'The {split} split has' if split else 'There are'} {counted(number, 'group')}{supposed}; "
                f"fewer than {MIN_GROUPS} say little about a new one, so no interval is given.",
                fix="collect more patients, plants or sites rather than more examples of the same ones.",
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
            check="Groups: as good as classes", severity="warn", score=share,
            message=f"{share:.0%} of the groups{supposed} contain a single class, and some classes have few groups "
            "in training: "
            f"{named(few)}. The model may learn what sets these groups apart, such as a stain or a device, "
            "instead of the class.",
            fix=f"collect examples of several classes from the same groups, or from more groups.{fix}",
        )  # fmt: skip


def label_errors(view: SessionView) -> Iterator[Finding]:
    """Find labels that are likely wrong: the probe, trained without the example and its group, confidently predicts
    another class.

    Source: Northcutt et al. 2021, arXiv:1911.00068 (confident learning), by cleanlab.

    Yields one finding, least likely label first.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    if view.probabilities is None or not view.task.exclusive:
        return
    known = np.flatnonzero(np.isfinite(view.probabilities).all(axis=1))
    labels, said = view.targets[known], view.probabilities[known]
    occurring = np.unique(labels)
    if len(occurring) < 2:
        return
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtra("cleanlab", "audit", "Finding label errors") from error
    said = said[:, occurring] / said[:, occurring].sum(axis=1, keepdims=True)
    labels = np.searchsorted(occurring, labels)
    found = known[find_label_issues(labels, said, return_indices_ranked_by="self_confidence", n_jobs=1)]
    if not len(found):
        return
    accuracy = float((said.argmax(axis=1) == labels).mean())
    yield Finding(
        check="Likely label errors", severity="warn", examples=view.ids(found), score=len(found) / len(known),
        message=f"{counted(len(found), 'label')} of {len(known):,} look wrong, the least likely first. The probe "
        "behind "
        f"this list predicts {accuracy:.1%} of held-out labels correctly; the list can include correctly labelled but "
        "hard examples.",
        fix="check them and correct the wrong ones; do not remove examples because they are hard.",
    )  # fmt: skip


def odd_labels(view: SessionView) -> Iterator[Finding]:
    """Report labels that the task finds odd (empty masks, boxes that disagree), and identities in several splits."""
    one, many = view.modality.one, view.modality.many
    for title, clause, fix, at in view.task.doubtful(view.targets):
        if len(at):
            yield Finding(
                check=f"Odd labels: {title}", severity="warn", examples=view.ids(at), score=len(at) / len(view.targets),
                message=f"{counted(len(at), one, many)} of {len(view.targets):,} {clause}: {named(view.ids(at))}.",
                fix=fix,
            )  # fmt: skip
    if view.task.split_rule != "disjoint classes":
        return
    names = np.array([view.task.named(example.label)[0] for example in view.examples])
    shared = [name for name in view.task.classes if len(set(view.splits[names == name])) > 1]
    if shared:
        words, seen = view.task.words(), np.flatnonzero(np.isin(names, shared) & (view.splits != "train"))
        yield Finding(
            check=f"Odd labels: {words.outputs} in several splits", severity="stop", examples=view.ids(seen),
            score=len(shared) / len(view.task.classes),
            message=f"{counted(len(shared), words.output, words.outputs)} of {len(view.task.classes):,} lie in several "
            f"splits: {named(shared)}. Training then knows what is to be new in the test.",
            fix="put all examples of one into the same split, or give none: they are then drawn so.",
        )  # fmt: skip


MAX_SHARE = 0.05
"""Share of unreadable files above which a fit stops (the default of `source.max_damaged_share`)."""


def unreadable(view: SessionView) -> Iterator[Finding]:
    """Report files that are unreadable, truncated or damaged, as found by the scan, which decodes every file
    completely.

    Yields one finding, with the reason for each file.
    """
    bad = np.flatnonzero(~view.usable)
    if not len(bad):
        return
    share = len(bad) / len(view.examples)
    reasons = [f"{view.examples[at].id}: {view.prints['error'][at].decode()}" for at in bad.tolist()]
    yield Finding(
        check="Unreadable files", severity="stop" if share > MAX_SHARE else "warn", score=share, examples=view.ids(bad),
        message=f"{counted(len(bad), 'file')} of {len(view.examples):,} cannot be read ({named(reasons, 3)}).",
        fix="restore them or leave them out: `--fix-split` writes a table without them.",
    )  # fmt: skip


NAMES = ("class_sizes", "groups", "label_errors", "odd_labels", "unreadable")
ENTRIES = {
    "class_sizes": Check(title="Class sizes", run=class_sizes),
    "groups": Check(title="Groups", run=groups),
    "label_errors": Check(title="Likely label errors", run=label_errors, needs_features=True),
    "odd_labels": Check(title="Odd labels", run=odd_labels),
    "unreadable": Check(title="Unreadable files", run=unreadable),
}
