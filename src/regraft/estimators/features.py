"""`Features`: a backbone's features as a transformer of scikit-learn.

    make_pipeline(Features("googlenet@imagenet"), StandardScaler(), LogisticRegression())

The network runs once per picture, whatever the number of folds and of settings tried: what it gave is in the store.

Letters: n examples, d features.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from regraft.estimators._base import PictureEstimator


class Features(TransformerMixin, PictureEstimator):  # type: ignore[misc]
    """Pictures (n) -> features (n d) at a cut of a frozen backbone.

    X is a sequence of paths or of pictures, an array of pictures, or a table of numbers (`_examples`). Nothing is
    learned from it but the range of its numbers, where they are no uint8.

    Args:
        backbone: NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model.
        cut: `output`, the pooled top state that a head reads; a stage's name; or `input`, the prepared picture.
        pooled: at an inner cut, whether the state is averaged over its places; else it is flattened.
        input_px: side of the square input in pixels; 0: the card's own size.
        channels: of the pictures; 0: as many as the backbone has, else its first convolution is adapted.
        random_state: seed of weights that are drawn at random, a whole number.
        device: cpu, cuda, mps, or auto.
        threads: CPU threads of the network; 0: all cores.
        verbose: whether progress goes to stderr.
    """

    def __init__(
        self,
        backbone: Any = "googlenet",
        *,
        cut: Any = "output",
        pooled: Any = True,
        input_px: Any = 0,
        channels: Any = 0,
        random_state: Any = 0,
        device: Any = "auto",
        threads: Any = 0,
        verbose: Any = False,
    ) -> None:
        self.backbone = backbone
        self.cut = cut
        self.pooled = pooled
        self.input_px = input_px
        self.channels = channels
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "Features":  # noqa: N803
        """Learn the range of numbers and the names of the features; the network stays as it is.

        Raises:
            RegraftError: what is wrong with the backbone, the cut or the first picture.
        """
        inputs = self._read(X, reset=True)
        self._names = self._extracted(inputs[:1]).names
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n d"]:  # noqa: N803
        """The features, float32.

        Raises:
            Undecodable: a picture cannot be read; the message names it.
        """
        check_is_fitted(self)
        array: np.ndarray = self._extracted(self._read(X, reset=False)).array
        return array

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`googlenet_output_0` …"""
        check_is_fitted(self)
        return np.array(self._names, dtype=object)

    def _extracted(self, inputs: list[Any]) -> Any:
        names = ("backbone", "cut", "input_px", "channels")
        chosen = self._recipe(**{name: getattr(self, name) for name in names})
        return self._extract(
            inputs,
            chosen.backbone,
            cut=chosen.cut,
            pooled=bool(self.pooled),
            input_px=chosen.input_px,
            channels=chosen.channels,
            seed=chosen.seed,
            device=chosen.device,
            threads=chosen.threads,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_names")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
