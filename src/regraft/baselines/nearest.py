"""Nearest-neighbour baseline for text pairs: predict the target of the most similar training text.

Texts are TF-IDF vectors of words and word pairs; among equal cosines the first counts. Source: Salton & Buckley 1988;
scikit-learn's `TfidfVectorizer`.
"""

from collections.abc import Sequence

import numpy as np

from regraft.contracts.baseline import Baseline, Predict
from regraft.contracts.example import SHOWN, Contents, Labelling, as_records
from regraft.modalities.text.read import text_of

MOST = 50_000
"""Maximum number of training examples."""
ROWS = 256
"""Number of texts compared at a time."""


class Nearest(Baseline):
    """Predict the target of the nearest training text."""

    title = "Target of the nearest training text"

    def suits(self, task: Labelling, num_examples: int) -> bool:
        return task.forced and num_examples <= MOST

    def fitted(self, contents: Sequence[Contents], targets: np.ndarray, num_classes: int, seed: int) -> Predict:
        from sklearn.feature_extraction.text import TfidfVectorizer

        counting = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
        known = counting.fit_transform(map(_source, contents)).T

        def predict(asked: Sequence[Contents]) -> np.ndarray:
            rows = counting.transform(map(_source, asked))
            found = [(rows[at : at + ROWS] @ known).toarray().argmax(axis=1) for at in range(0, len(asked), ROWS)]
            return as_records([targets[at] for one in found for at in one.tolist()])

        return predict


def _source(contents: Contents) -> str:
    return text_of(next(one for name, one in contents.items() if name != SHOWN))


ENTRY = Nearest()
