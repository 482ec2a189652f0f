"""Near copies by fingerprint: re-encoded, resized, brightened."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import counted


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on pairs across splits, one on others."""
    yield from told(view, ENTRY.title, view.near, "nearly the same, by their fingerprints")


def told(view: SessionView, title: str, pairs: Int[np.ndarray, "m 2"], what: str) -> Iterator[Finding]:
    """What to say of pairs of near copies."""
    cross = view.crossing(pairs)
    if cross.any():
        yield Finding(
            check=f"{title} across splits", severity="warn", examples=view.ids(pairs[cross]), score=float(cross.sum()),
            message=f"{counted(int(cross.sum()), 'pair')} of {view.modality.many} in different splits are {what}. What "
            "is tested was then seen in training, or nearly.",
            fix="look at the pairs; `--fix-split` writes a table in which both are in one split.",
        )  # fmt: skip
    if not cross.all():
        yield Finding(
            check=f"{title} in one split", severity="info", examples=view.ids(pairs[~cross]),
            score=float((~cross).sum()),
            message=f"{counted(int((~cross).sum()), 'pair')} of {view.modality.many} in the same split are {what}.",
            fix="nothing; they are less to learn from than as many different ones.",
        )  # fmt: skip


ENTRY = Check(title="Near copies", run=run)
