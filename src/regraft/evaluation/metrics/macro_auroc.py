"""The mean over tags of the chance that a random example with the tag scores above a random one without.

0.5 for guesses. Tags that no example or every example has are left out; nan when there is no other.
"""

from regraft.contracts.metric import Metric
from regraft.evaluation._numeric import unweighted
from regraft.evaluation.metrics._ranking import auroc_of, over_tags

_weighted = over_tags(auroc_of)

ENTRY = Metric(
    name="macro_auroc",
    title="Macro AUROC",
    higher_is_better=True,
    range=(0.0, 1.0),
    needs="probabilities",
    kinds=frozenset({"multilabel"}),
    compute=unweighted(_weighted),
    weighted=_weighted,
    undefined="no tag divides the examples",
)
