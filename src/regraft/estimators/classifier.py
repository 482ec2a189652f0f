"""`RegraftClassifier`: transfer learning as a classifier of scikit-learn.

    cross_val_score(RegraftClassifier("googlenet@imagenet"), paths, labels, groups=patients, cv=GroupKFold())

Letters: n examples, c classes.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from regraft.estimators._transfer import TransferEstimator
from regraft.tasks.probabilities import softmax


class RegraftClassifier(ClassifierMixin, TransferEstimator):  # type: ignore[misc]
    """Pictures (n) -> classes (n), by a pretrained network, its head and, where asked for, stages of it retrained.

    X is a sequence of paths or of pictures, an array of pictures, or a table of numbers (`_examples`). Every example
    trains; the division into training and test is the caller's. `groups` (patients, plants) stay together wherever
    `fit` divides, for the penalty and for early stopping; pass them through `cross_val_score(params=…)` or
    `set_fit_request(groups=True)`.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftClassifier":  # noqa: N803
        """Train on pictures and their classes.

        Raises:
            ValueError: what scikit-learn refuses: lengths that differ, one class only, numbers that are not finite.
            RegraftError: what is wrong with the settings, the pictures, the weights or the machine.
        """
        inputs, y = self._read_labelled(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs two classes or more; y holds 1 class, {self.classes_[0]!r}.")
        names = [str(name) for name in self.classes_.tolist()]
        self._train(
            inputs, kind="classification", labels=[names[code] for code in codes], classes=tuple(names), groups=groups
        )
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "n ..."]:  # noqa: N803
        """Logits, calibrated: of the second class less the first (n) where there are two, else of each (n c)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:  # noqa: N803
        """Probability of every class, in the order of `classes_`."""
        return softmax(self._logits(X).astype(np.float64))

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most probable class."""
        best = self._logits(X).argmax(axis=1)
        found: np.ndarray = self.classes_[best]
        return found
