"""The share of examples whose answer is exactly right."""

import numpy as np

from regraft.contracts.metric import Metric

KINDS = frozenset({"toy_sequence"})


def right(targets, outputs):
    return np.array([target == output for target, output in zip(targets, outputs, strict=True)], dtype=bool)


ENTRY = Metric(
    name="exact",
    title="Exact match",
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=KINDS,
    main=KINDS,
    statistics=lambda targets, outputs: np.column_stack([right(targets, outputs), np.ones(len(targets))]),
    value=lambda sums: sums[:, 0] / sums[:, 1],
    right=right,
    interval="wilson",
)
