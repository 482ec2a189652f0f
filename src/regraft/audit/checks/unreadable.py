"""Files that cannot be read, are cut off or damaged: what the scan found on decoding every one whole."""

from collections.abc import Iterator

import numpy as np

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import counted, named

MAX_SHARE = 0.05
"""Share from which on a fit stops (the default of `source.max_damaged_share`)."""


def run(view: SessionView) -> Iterator[Finding]:
    """One finding, with the reason of each."""
    bad = np.flatnonzero(~view.usable)
    if not len(bad):
        return
    share = len(bad) / len(view.examples)
    reasons = [f"{view.examples[at].id}: {view.prints['error'][at].decode()}" for at in bad.tolist()]
    yield Finding(
        check=ENTRY.title, severity="stop" if share > MAX_SHARE else "warn", score=share, examples=view.ids(bad),
        message=f"{counted(len(bad), 'file')} of {len(view.examples):,} cannot be read ({named(reasons, 3)}).",
        fix="get them again, or leave them out: `--fix-split` writes a table without them.",
    )  # fmt: skip


ENTRY = Check(title="Unreadable files", run=run)
