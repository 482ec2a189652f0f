"""The chance that a random example of a class scores above a random other one; 0.5 for chance.

Two classes: the second against the first. More: the plain mean of each class against the rest. nan when a class has
no example. Source: Hanley and McNeil 1982; equal scores count one half.
"""

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._ranking import auroc_of, one_vs_rest

_weighted = one_vs_rest(auroc_of)

ENTRY = Metric(
    name="auroc",
    title="AUROC",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
