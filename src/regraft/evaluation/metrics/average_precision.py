"""Precision averaged over the recall steps of falling thresholds; the share of the class for chance.

Two classes: the second is the positive one. More: the plain mean of each class against the rest. nan when a class has
no example. No interpolation between steps: as scikit-learn's average_precision_score.
"""

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._ranking import average_precision_of, one_vs_rest

_weighted = one_vs_rest(average_precision_of)

ENTRY = Metric(
    name="average_precision",
    title="Average precision",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"classification"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
)
