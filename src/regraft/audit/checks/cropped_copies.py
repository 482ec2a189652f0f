"""Near copies that fingerprints do not find, cropped or mirrored: alike to the backbone, and the same where one is laid
on the other."""

from collections.abc import Iterator

from regraft.audit.checks.near_copies import told
from regraft.audit.neighbours import cropped_pairs
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on pairs across splits, one on others."""
    yield from told(view, ENTRY.title, cropped_pairs(view), "the same when one is laid on the other")


ENTRY = Check(title="Cropped copies", run=run, needs_features=True)
