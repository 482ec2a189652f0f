"""TF-IDF baseline for texts: logistic regression on words and word pairs, without a pretrained network.

The regularisation strength is chosen by cross-validation within the training examples, if every class has at least two.
Source: Salton & Buckley 1988; scikit-learn's `TfidfVectorizer` and `LogisticRegressionCV`. The settings are our choice:
logarithmic term frequencies, words and word pairs, no stop words.

Letters: n examples, c classes.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.baseline import Baseline, Predict
from regraft.contracts.example import Contents, Labelling
from regraft.modalities.text.read import text_of

MOST = 20_000
"""Maximum number of training examples; more would take longer than a probe."""
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths to try."""
FOLDS = 5


class TfIdf(Baseline):
    """Logistic regression on TF-IDF vectors."""

    title = "TF-IDF"

    def suits(self, task: Labelling, num_examples: int) -> bool:
        return task.exclusive and num_examples <= MOST

    def fitted(
        self, contents: Sequence[Contents], targets: Int[np.ndarray, " n"], num_classes: int, seed: int
    ) -> Predict:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        counting = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
        rows = counting.fit_transform(map(_joined, contents))
        classes, counts = np.unique(targets, return_counts=True)
        model = LogisticRegression(C=STRENGTHS[2], max_iter=1000)
        folds = min(FOLDS, int(counts.min()))
        if folds > 1:
            dealt = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32)
            model = GridSearchCV(model, {"C": STRENGTHS}, cv=dealt, scoring="neg_log_loss")
        with warnings.catch_warnings():  # a fold that has not converged is not chosen
            warnings.simplefilter("ignore")
            model.fit(rows, targets)

        def predict(asked: Sequence[Contents]) -> Float[np.ndarray, "n c"]:
            logits = np.full((len(asked), num_classes), -30.0, dtype=np.float32)
            logits[:, classes] = np.log(np.clip(model.predict_proba(counting.transform(map(_joined, asked))), 1e-12, 1))
            return logits

        return predict


def _joined(contents: Contents) -> str:
    return "\n".join(map(text_of, contents.values()))


ENTRY = TfIdf()
