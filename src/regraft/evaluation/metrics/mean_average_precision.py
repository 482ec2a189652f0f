"""The mean over tags of average precision: of how well a tag's probability ranks the examples that have it first.

Tags that no example has are left out; nan when there is no other. The mean share of examples with a tag for chance.
Without interpolation, as scikit-learn's average_precision_score by macro average.
"""

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._ranking import average_precision_of, over_tags

_weighted = over_tags(average_precision_of)

ENTRY = Metric(
    name="mean_average_precision",
    title="Mean average precision",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"multilabel"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    main=frozenset({"multilabel"}),
    undefined="no example has a tag",
)
