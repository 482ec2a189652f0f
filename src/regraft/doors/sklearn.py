"""Estimators for scikit-learn: `regraft.RegraftClassifier`, `regraft.RegraftRegressor`, `regraft.Features`.

    cross_val_score(RegraftClassifier("googlenet@imagenet"), paths, labels, groups=patients, cv=GroupKFold())
    make_pipeline(Features("googlenet@imagenet"), StandardScaler(), LogisticRegression())

X is a sequence of paths or of images, an array of images, or a table of numbers (see `_inputs`). The frozen network
runs once per image, regardless of the number of folds and settings: its activations are stored.

Letters: n examples, d features, c outputs.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from regraft.contracts.example import Example
from regraft.contracts.modality import MODALITIES
from regraft.data.dataset import Dataset
from regraft.doors._inputs import SavedModel, in_brightness, inputs_in, range_of, rows_as_images
from regraft.doors.python import parameters_for_flags
from regraft.doors.screen import result_of
from regraft.errors import DamagedData
from regraft.recipe import Recipe, built
from regraft.words import joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regraft.workbench.features import Extracted

T = TypeVar("T")

_NOT_OF_A_RECIPE = ("pooled", "random_state", "verbose")


@dataclass(eq=False, repr=False)
class ImageEstimator(BaseEstimator):  # type: ignore[misc]
    """Base class of estimators on images. Parameters are fields of a recipe, validated in `fit` as scikit-learn
    requires."""

    backbone: Any = "googlenet"
    """NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model."""
    _: KW_ONLY
    input_px: Any = 0
    """Side of the square input in pixels; 0: the backbone's default."""
    channels: Any = 0
    """Number of image channels; 0: the backbone's. For other numbers its first convolution is adapted."""
    random_state: Any = 0
    """Random seed, an integer."""
    device: Any = "auto"
    """cpu, cuda, mps, or auto."""
    threads: Any = 0
    """CPU threads; 0: all cores."""
    verbose: Any = False
    """Whether to print progress and notices to stderr."""

    def _read(self, x: Any, *, reset: bool) -> list[Any]:
        """Return the inputs in X; with `reset`, also learn the properties that later inputs must have.

        Raises:
            ValueError: X is empty, or a table that scikit-learn rejects.
        """
        if not reset:
            check_is_fitted(self)
        inputs = inputs_in(x)
        if inputs is None:
            inputs = rows_as_images(validate_data(self, x, reset=reset, ensure_min_features=1))
        elif reset and hasattr(self, "n_features_in_"):
            del self.n_features_in_
        if reset:
            self.value_range_ = range_of(inputs)
        return in_brightness(inputs, self.value_range_)

    def _result(self, events: "Iterable[Any]", kind: type[T]) -> T:
        """Return the result of a command; its errors suggest parameters, not flags."""
        with parameters_for_flags(self.get_params(deep=False)):
            try:
                return result_of(events, kind, quiet=not self.verbose)
            except DamagedData as error:
                error.fix = "repair these files, or remove them from X."
                raise

    def _extract(self, inputs: list[Any], backbone: Any, **settings: Any) -> "Extracted":
        """Return the features of the inputs at a cut of `backbone`."""
        from regraft.workbench.features import Extracted, features

        return self._result(features(inputs, backbone, **settings), Extracted)

    def _recipe(self) -> Recipe:
        """Return the settings as a recipe, which validates their types and ranges.

        Raises:
            BadRecipe: a value has the wrong type or is out of range.
        """
        given = {name: value for name, value in self.get_params(deep=False).items() if name not in _NOT_OF_A_RECIPE}
        fields = {"data": "in memory", "seed": self.random_state, **given, "options": given.get("options") or {}}
        return built(Recipe, fields, where=type(self).__name__)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.string = True
        return tags


@dataclass(eq=False, repr=False)
class Features(TransformerMixin, ImageEstimator):  # type: ignore[misc]
    """Transformer from images (n) to features (n d) at a cut of a frozen backbone.

    Fitting learns only the value range of X, if it is not uint8.
    """

    _: KW_ONLY
    cut: Any = "output"
    """`output` (the pooled features that a head reads), the name of a stage, or `input` (the prepared image)."""
    pooled: Any = True
    """At an inner cut: whether to average over positions; otherwise the state is flattened."""

    def fit(self, X: Any, y: Any = None) -> "Features":  # noqa: N803
        """Learn the value range and the feature names; the network is not trained.

        Raises:
            RegraftError: the backbone, the cut or the first image are not usable.
        """
        self._names = self._extracted(self._read(X, reset=True)[:1]).names
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n d"]:  # noqa: N803
        """Return the features as float32.

        Raises:
            Undecodable: an image cannot be read; the message names it.
        """
        return self._extracted(self._read(X, reset=False)).array

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names `googlenet_output_0` …"""
        check_is_fitted(self)
        return np.array(self._names, dtype=object)

    def _extracted(self, inputs: list[Any]) -> "Extracted":
        chosen = self._recipe()
        names = ("cut", "input_px", "channels", "seed", "device", "threads")
        settings = {name: getattr(chosen, name) for name in names}
        return self._extract(inputs, chosen.backbone, pooled=bool(self.pooled), **settings)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_names")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@dataclass(eq=False, repr=False)
class TransferEstimator(ImageEstimator):
    """Base class of estimators that train a head and, depending on the strategy, stages of the network.

    All examples are used for training; splitting is up to the caller. `groups` (patients, plants) are never split when
    `fit` itself splits, to choose the regularisation or for early stopping; pass them with `cross_val_score(params=…)`
    or `set_fit_request(groups=True)`.
    """

    _: KW_ONLY
    strategy: Any = "probe"
    """probe, partial, full, lp_ft …; see `regraft strategies`."""
    cut: Any = ""
    """Last frozen stage; empty: the strategy's default."""
    augmentation: Any = "default"
    """Data augmentation: default, colour, flips, strong or none."""
    views: Any = -1
    """Stored views per example; 0: augment on the fly; -1: the strategy's default."""
    options: Any = None
    """Options of the strategy that differ from its defaults, by name."""

    def save(self, path: str | Path) -> None:
        """Save the model to a new folder, for `regraft predict`, `regraft.load`, or as a backbone.

        Raises:
            RunError: `path` exists already.
        """
        self._fitted().save(Path(path))

    def _read_labelled(self, x: Any, y: Any) -> tuple[list[Any], np.ndarray]:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        inputs = self._read(x, reset=True)
        y = np.asarray(y)
        check_consistent_length(inputs, y)
        if len(inputs) < 2:
            raise ValueError(f"{type(self).__name__} needs two samples or more; n_samples = 1.")
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        return inputs, y

    def _train(
        self, inputs: list[Any], groups: Any, *, kind: str, labels: Sequence[str], classes: tuple[str, ...]
    ) -> None:
        from regraft.workbench.train import Trained, train

        recipe, reads, model = self._recipe(), MODALITIES.get("image"), SavedModel()
        if groups is not None:
            check_consistent_length(inputs, groups)
        of = [None] * len(inputs) if groups is None else list(map(str, np.asarray(groups).tolist()))
        contents = [reads.given(one) for one in inputs]
        examples = tuple(
            Example(id=f"{at}:{next(iter(one.values()))}", contents=one, label=label, group=group)
            for at, (one, label, group) in enumerate(zip(contents, labels, of, strict=True))
        )
        dataset = Dataset(root=Path(), examples=examples, classes=classes, kind=kind)
        self._tuned = self._result(train(recipe, dataset, model.path), Trained).tuned
        self._model = model

    def _fitted(self) -> SavedModel:
        check_is_fitted(self)
        return self._model

    def _logits(self, x: Any) -> Float[np.ndarray, "n c"]:
        """Return calibrated logits. Features of the pretrained network are looked up and kept in the store; those of a
        fine-tuned one, which no other fold shares, are not."""
        inputs, model = self._read(x, reset=False), self._fitted().model()
        stored = not self._tuned
        found = self._extract(inputs, model.backbone, device=self.device, threads=self.threads, stored=stored)
        return model.logits(found.array) / np.float32(model.temperature)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")


class RegraftClassifier(ClassifierMixin, TransferEstimator):  # type: ignore[misc]
    """Classifier on images (n -> n): a pretrained network with a new head and, depending on the strategy, retrained
    stages."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftClassifier":  # noqa: N803
        """Train on images and their classes.

        Raises:
            ValueError: scikit-learn rejects the arguments: different lengths, a single class, values that are not
                finite.
            RegraftError: the settings, images, weights or machine are not usable.
        """
        inputs, y = self._read_labelled(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs two classes or more; y holds 1 class, {self.classes_[0]!r}.")
        names = tuple(map(str, self.classes_.tolist()))
        self._train(inputs, groups, kind="classification", labels=[names[code] for code in codes], classes=names)
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "n ..."]:  # noqa: N803
        """Return calibrated logits: second class minus first (n) for two classes, else of each class (n c)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:  # noqa: N803
        """Return class probabilities in the order of `classes_`."""
        logits = self._logits(X)
        return self._fitted().model().task.outputs(logits)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable class of each image."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]


class RegraftRegressor(RegressorMixin, TransferEstimator):  # type: ignore[misc]
    """Regressor on images (n -> n, or n c for several targets): a pretrained network with a new head and, depending on
    the strategy, retrained stages.

    The default strategy is ridge regression on frozen features, with the regularisation chosen on the training
    examples.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftRegressor":  # noqa: N803
        """Train on images and their target values (n) or (n c).

        Raises:
            ValueError: scikit-learn rejects the arguments: different lengths, values that are not finite.
            BadData: a target is constant.
            RegraftError: the settings, images, weights or machine are not usable.
        """
        inputs, y = self._read_labelled(X, y)
        table = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        self._flat = table.ndim == 1
        rows = table.reshape(len(table), -1)
        labels = [joined(map(repr, row)) for row in rows.tolist()]
        names = tuple(f"y{column}" for column in range(rows.shape[1]))
        self._train(inputs, groups, kind="regression", labels=labels, classes=names)
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "n ..."]:  # noqa: N803
        """Return predictions in the unit of the targets."""
        logits = self._logits(X)
        found: np.ndarray = self._fitted().model().task.outputs(logits)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
