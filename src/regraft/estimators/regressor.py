"""`RegraftRegressor`: transfer learning as a regressor of scikit-learn.

Letters: n examples, t numbers asked for.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array

from regraft.estimators._transfer import TransferEstimator
from regraft.labels import joined


class RegraftRegressor(RegressorMixin, TransferEstimator):  # type: ignore[misc]
    """Pictures (n) -> one number each (n) or several (n t), by a pretrained network, its head and, where asked for,
    stages of it retrained.

    X, groups and settings are those of `RegraftClassifier`. The default strategy solves a ridge regression on the
    frozen features, its penalty chosen inside the training examples.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftRegressor":  # noqa: N803
        """Train on pictures and their numbers (n) or (n t).

        Raises:
            ValueError: what scikit-learn refuses: lengths that differ, numbers that are not finite.
            BadData: a number is the same for all examples.
            RegraftError: what is wrong with the settings, the pictures, the weights or the machine.
        """
        inputs, y = self._read_labelled(X, y)
        table = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        self._flat = table.ndim == 1
        rows = table.reshape(len(table), -1)
        names = tuple(f"y{column}" for column in range(rows.shape[1]))
        self._train(
            inputs,
            kind="regression",
            labels=[joined(map(repr, row)) for row in rows.tolist()],
            classes=names,
            groups=groups,
        )
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "n ..."]:  # noqa: N803
        """The numbers, in the unit that `fit` was given."""
        logits = self._logits(X)
        found: np.ndarray = self._fitted().model().task.outputs(logits)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
