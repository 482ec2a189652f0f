"""Estimators for scikit-learn: `regraft.RegraftClassifier`, `regraft.RegraftRegressor`, `regraft.Features`.

    cross_val_score(RegraftClassifier("googlenet@imagenet"), paths, labels, groups=patients, cv=GroupKFold())
    make_pipeline(Features("googlenet@imagenet"), StandardScaler(), LogisticRegression())

X is a sequence of paths or of images, an array of images, or a table of numbers (see `_inputs`). The frozen network
runs once per image, whatever the number of folds and of settings tried: what it gave is in the store.

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
    """An estimator on images. Its settings are those of a recipe, checked in `fit`, as scikit-learn wants it."""

    backbone: Any = "googlenet"
    """NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model."""
    _: KW_ONLY
    input_px: Any = 0
    """Side of the square input in pixels; 0: the backbone's own size."""
    channels: Any = 0
    """Channels of the images; 0: as many as the backbone has, else its first convolution is adapted."""
    random_state: Any = 0
    """The seed, a whole number."""
    device: Any = "auto"
    """cpu, cuda, mps, or auto."""
    threads: Any = 0
    """CPU threads of the network; 0: all cores."""
    verbose: Any = False
    """Whether progress and notices go to stderr."""

    def _read(self, x: Any, *, reset: bool) -> list[Any]:
        """The inputs in X; `reset` learns what later ones are held to.

        Raises:
            ValueError: there is nothing in X, or it is a table that scikit-learn refuses.
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
        """What a verb comes to; its errors advise parameters, not flags."""
        with parameters_for_flags(self.get_params(deep=False)):
            try:
                return result_of(events, kind, quiet=not self.verbose)
            except DamagedData as error:
                error.fix = "repair these files, or leave them out of X."
                raise

    def _extract(self, inputs: list[Any], backbone: Any, **settings: Any) -> "Extracted":
        """The features of the inputs at a cut of `backbone`."""
        from regraft.workbench.features import Extracted, features

        return self._result(features(inputs, backbone, **settings), Extracted)

    def _recipe(self) -> Recipe:
        """The settings as a recipe, which checks their kinds and ranges.

        Raises:
            BadRecipe: a value is of the wrong kind or out of range.
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
    """Images (n) -> features (n d) at a cut of a frozen backbone.

    Nothing is learned from X but the range of its numbers, where they are not uint8.
    """

    _: KW_ONLY
    cut: Any = "output"
    """`output`, the pooled top state that a head reads; a stage's name; or `input`, the prepared image."""
    pooled: Any = True
    """At an inner cut, whether the state is averaged over its places; else it is flattened."""

    def fit(self, X: Any, y: Any = None) -> "Features":  # noqa: N803
        """Learn the range of numbers and the names of the features; the network stays as it is.

        Raises:
            RegraftError: what is wrong with the backbone, the cut or the first image.
        """
        self._names = self._extracted(self._read(X, reset=True)[:1]).names
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n d"]:  # noqa: N803
        """The features, float32.

        Raises:
            Undecodable: an image cannot be read; the message names it.
        """
        return self._extracted(self._read(X, reset=False)).array

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`googlenet_output_0` …"""
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
    """An estimator that trains a head, and as much of the network below it as its strategy says.

    Every example trains; the division into training and test is the caller's. `groups` (patients, plants) stay together
    wherever `fit` divides, for the penalty and for early stopping; pass them through `cross_val_score(params=…)` or
    `set_fit_request(groups=True)`.
    """

    _: KW_ONLY
    strategy: Any = "probe"
    """probe, partial, full, lp_ft, …: `regraft strategies` lists them."""
    cut: Any = ""
    """Last frozen stage; empty: the strategy's own."""
    augmentation: Any = "default"
    """How views differ from the plain one: default, colour, flips, strong or none."""
    views: Any = -1
    """Augmented copies cached per example; 0 augments on the fly; -1: the strategy's own."""
    options: Any = None
    """The strategy's options that differ from its defaults, by name."""

    def save(self, path: str | Path) -> None:
        """Write the model to a new folder, for `regraft predict`, `regraft.load`, or as the next backbone.

        Raises:
            RunError: there is something at `path` already.
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
        """Calibrated logits. An untouched network's features are looked up in the store and kept there; those of a
        tuned one, which no other fold shares, are not."""
        inputs, model = self._read(x, reset=False), self._fitted().model()
        stored = not self._tuned
        found = self._extract(inputs, model.backbone, device=self.device, threads=self.threads, stored=stored)
        return model.logits(found.array) / np.float32(model.temperature)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")


class RegraftClassifier(ClassifierMixin, TransferEstimator):  # type: ignore[misc]
    """Images (n) -> classes (n), by a pretrained network, its head and, where asked for, stages of it retrained."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftClassifier":  # noqa: N803
        """Train on images and their classes.

        Raises:
            ValueError: what scikit-learn refuses: lengths that differ, one class only, numbers that are not finite.
            RegraftError: what is wrong with the settings, the images, the weights or the machine.
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
        """Logits, calibrated: of the second class less the first (n) where there are two, else of each (n c)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:  # noqa: N803
        """Probability of every class, in the order of `classes_`."""
        logits = self._logits(X)
        return self._fitted().model().task.outputs(logits)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most probable class."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]


class RegraftRegressor(RegressorMixin, TransferEstimator):  # type: ignore[misc]
    """Images (n) -> one number each (n) or several (n c), by a pretrained network, its head and, where asked for,
    stages of it retrained.

    The default strategy solves a ridge regression on the frozen features, its penalty chosen inside the training
    examples.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> "RegraftRegressor":  # noqa: N803
        """Train on images and their numbers (n) or (n c).

        Raises:
            ValueError: what scikit-learn refuses: lengths that differ, numbers that are not finite.
            BadData: a number is the same for all examples.
            RegraftError: what is wrong with the settings, the images, the weights or the machine.
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
        """The numbers, in the unit that `fit` was given."""
        logits = self._logits(X)
        found: np.ndarray = self._fitted().model().task.outputs(logits)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
