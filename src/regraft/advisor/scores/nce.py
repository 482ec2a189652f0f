"""Negative conditional entropy of the labels, given the source class that the source classifier finds most probable.

Source: Tran et al. 2019, arXiv:1908.08142; the source's own labels are replaced by its predictions, as usual where the
source data are not at hand.
"""

import numpy as np

from regraft.contracts.score import Score, Seen


def nce(seen: Seen) -> float:
    """The score in nats, 0 at most."""
    assert seen.source is not None, "the caller looks at `needs_source`"
    joint = np.zeros((int(seen.targets.max()) + 1, seen.source.shape[1]))
    np.add.at(joint, (seen.targets, seen.source.argmax(axis=1)), 1 / len(seen.targets))
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float((joint * np.log(np.maximum(given, 1e-300))).sum())


ENTRY = Score(title="NCE", origin="Tran et al. 2019, arXiv:1908.08142", of=nce, needs_source=True)
