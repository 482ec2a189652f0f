"""Labels that are likely wrong: the probe, trained without the example and its group, is sure of another class.

Source: Northcutt et al. 2021, arXiv:1911.00068 (confident learning), by cleanlab.
"""

from collections.abc import Iterator

import numpy as np

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.errors import MissingExtra
from regraft.words import counted


def run(view: SessionView) -> Iterator[Finding]:
    """One finding, the least likely label first.

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
        check=ENTRY.title, severity="warn", examples=view.ids(found), score=len(found) / len(known),
        message=f"{counted(len(found), 'label')} of {len(known):,} look wrong, the least likely first. The probe that "
        f"says so predicts {accuracy:.1%} of the labels right on examples that it has not seen; hard examples are "
        "among them.",
        fix="look at them and correct those that are wrong; leave out none because it is hard.",
    )  # fmt: skip


ENTRY = Check(title="Likely label errors", run=run, needs_features=True)
