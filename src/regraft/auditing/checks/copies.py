"""Checks for duplicates: equal decoded content, near-duplicates, and equal content with different labels."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from regraft.auditing.neighbours import cropped_pairs
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import counted, labelled, named


def exact_copies(view: SessionView) -> Iterator[Finding]:
    """Find examples with equal decoded content, in different splits or in the same one.

    Yields one finding on copies across splits, one on the others.
    """
    sets: dict[int, list[int]] = {}
    for at, first in enumerate(view.same.tolist()):
        sets.setdefault(first, []).append(at)
    several = [some for some in sets.values() if len(some) > 1]
    across = [some for some in several if len(set(view.splits[some].tolist())) > 1]
    within = [some for some in several if len(set(view.splits[some].tolist())) == 1]
    one, many = view.modality.one, view.modality.many
    if across:
        leaked = np.concatenate(across)
        tested = sum(view.splits[at] != "train" for at in leaked.tolist())
        yield Finding(
            check="Exact copies across splits", severity="stop", examples=view.ids(leaked), score=float(len(across)),
            message=f"{counted(len(across), f'{one} is', f'{many} are')} in two splits or more: "
            f"{counted(tested, 'validation or test example')} {'is' if tested == 1 else 'are'} seen in training, so "
            "test results would be too optimistic.",
            fix="`--fix-split` writes a table in which each is in a single split.",
        )  # fmt: skip
    if within:
        extra = sum(len(some) - 1 for some in within)
        yield Finding(
            check="Exact copies in one split", severity="info", examples=view.ids(np.concatenate(within)),
            score=float(extra),
            message=f"{counted(extra, f'{one} is a copy', f'{many} are copies')} of another in the same split; each "
            "counts more than once. Splits drawn by Regraft keep copies together.",
            fix="remove the copies, unless they are meant to count more.",
        )  # fmt: skip


def near_copies(view: SessionView) -> Iterator[Finding]:
    """Find near-duplicates by fingerprint: re-encoded, resized or brightened copies.

    Yields one finding on pairs across splits, one on the others.
    """
    yield from told(view, "Near copies", view.near, "nearly identical, by their fingerprints")


def told(view: SessionView, title: str, pairs: Int[np.ndarray, "m 2"], what: str) -> Iterator[Finding]:
    """Yield the findings on pairs of near-duplicates."""
    cross = view.crossing(pairs)
    if cross.any():
        yield Finding(
            check=f"{title} across splits", severity="warn", examples=view.ids(pairs[cross]), score=float(cross.sum()),
            message=f"{counted(int(cross.sum()), 'pair')} of {view.modality.many} in different splits are {what}, so "
            "test examples, or close copies, were seen in training.",
            fix="check the pairs; `--fix-split` writes a table in which both are in the same split.",
        )  # fmt: skip
    if not cross.all():
        yield Finding(
            check=f"{title} in one split", severity="info", examples=view.ids(pairs[~cross]),
            score=float((~cross).sum()),
            message=f"{counted(int((~cross).sum()), 'pair')} of {view.modality.many} in the same split are {what}.",
            fix="none needed; they are less informative than as many distinct ones.",
        )  # fmt: skip


def cropped_copies(view: SessionView) -> Iterator[Finding]:
    """Find near-duplicates that fingerprints miss, such as cropped or mirrored copies: similar according to the
    backbone, and equal once aligned. Yields one finding on pairs across splits, one on the others."""
    yield from told(view, "Cropped copies", cropped_pairs(view), "identical where they overlap")


def two_labels(view: SessionView) -> Iterator[Finding]:
    """Find equal or nearly equal content with different labels.

    Yields one finding on equal examples, one on near-duplicates.
    """
    if not view.task.needs_labels:
        return
    labels = np.array([one.label for one in view.examples])
    equal = np.stack([view.same, np.arange(len(view.same))], axis=1)
    near = np.concatenate([view.near, cropped_pairs(view)])
    for pairs, what, severity in ((equal, "identical", "stop"), (near, "nearly identical", "warn")):
        odd = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        if not len(odd):
            continue
        words = [
            " and ".join(labelled(view.examples[at].id, view.examples[at].label) for at in pair)
            for pair in odd.tolist()
        ]
        yield Finding(
            check="One content with two labels" if what == "identical" else "One content with two labels, near copies",
            severity="stop" if severity == "stop" else "warn", examples=view.ids(odd), score=float(len(odd)),
            message=f"{counted(len(odd), 'pair')} of {view.modality.many} {'is' if len(odd) == 1 else 'are'} {what} "
            f"with two labels: {named(words, 3)}. At most one of the labels is right.",
            fix="correct the labels; `--fix-split` leaves out both if they are identical.",
        )  # fmt: skip


NAMES = ("cropped_copies", "exact_copies", "near_copies", "two_labels")
ENTRIES = {
    "exact_copies": Check(title="Exact copies", run=exact_copies),
    "near_copies": Check(title="Near copies", run=near_copies),
    "cropped_copies": Check(title="Cropped copies", run=cropped_copies, needs_features=True),
    "two_labels": Check(title="One content with two labels", run=two_labels),
}
