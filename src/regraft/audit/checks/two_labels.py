"""The same content, or nearly the same, with two labels."""

from collections.abc import Iterator

import numpy as np

from regraft.audit.neighbours import cropped_pairs
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import counted, named


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on equal examples, one on near copies."""
    if not view.task.needs_labels:
        return
    labels = np.array([one.label for one in view.examples])
    equal = np.stack([view.same, np.arange(len(view.same))], axis=1)
    near = np.concatenate([view.near, cropped_pairs(view)])
    for pairs, what, severity in ((equal, "the same", "stop"), (near, "nearly the same", "warn")):
        odd = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        if not len(odd):
            continue
        words = [
            f"{view.examples[a].id} ({labels[a]}) and {view.examples[b].id} ({labels[b]})" for a, b in odd.tolist()
        ]
        yield Finding(
            check=ENTRY.title if what == "the same" else f"{ENTRY.title}, near copies",
            severity="stop" if severity == "stop" else "warn", examples=view.ids(odd), score=float(len(odd)),
            message=f"{counted(len(odd), 'pair')} of {view.modality.many} {'is' if len(odd) == 1 else 'are'} {what} "
            f"with two labels: {named(words, 3)}. At most one of them is right.",
            fix="correct the labels; `--fix-split` leaves out both where they are the same.",
        )  # fmt: skip


ENTRY = Check(title="One content with two labels", run=run)
