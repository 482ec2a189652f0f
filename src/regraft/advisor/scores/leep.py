"""LEEP: how likely the labels are if each were drawn by way of the source class that the source classifier predicts.

Source: Nguyen et al. 2020, arXiv:2002.12462, equation 2.
"""

import numpy as np

from regraft.contracts.score import Score, Seen


def leep(seen: Seen) -> float:
    """The score: the mean log likelihood, 0 at most."""
    assert seen.source is not None, "the caller looks at `needs_source`"
    source = seen.source.astype(np.float64)
    joint = np.zeros((int(seen.targets.max()) + 1, source.shape[1]))
    np.add.at(joint, seen.targets, source / len(source))
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float(np.mean(np.log(np.maximum((source * given[seen.targets]).sum(axis=1), 1e-300))))


ENTRY = Score(title="LEEP", origin="Nguyen et al. 2020, arXiv:2002.12462", of=leep, needs_source=True)
