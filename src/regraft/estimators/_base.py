"""What the three estimators share: how X is read, and how long work is watched."""

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from regraft.doors._terminal import watched
from regraft.estimators._examples import Range, in_brightness, inputs_in, range_of, rows_as_pictures
from regraft.recipe import Recipe, built

if TYPE_CHECKING:
    from regraft.workbench.features import Extracted


class PictureEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator on pictures, however they are given."""

    random_state: Any
    device: Any
    threads: Any
    verbose: Any
    value_range_: Range | None
    """From which numbers to which pictures go that are given as numbers other than uint8; learnt by `fit`."""

    def _read(self, x: Any, *, reset: bool) -> list[Any]:
        """The inputs in X; `reset` learns what later ones are held to.

        Raises:
            ValueError: there is nothing in X, or it is a table that scikit-learn refuses.
        """
        if not reset:
            check_is_fitted(self)
        inputs = inputs_in(x)
        if inputs is None:
            inputs = rows_as_pictures(validate_data(self, x, reset=reset, ensure_min_features=1))
        elif reset and hasattr(self, "n_features_in_"):
            del self.n_features_in_
        if reset:
            self.value_range_ = range_of(inputs)
        return in_brightness(inputs, self.value_range_)

    def _extract(self, inputs: list[Any], backbone: Any, **settings: Any) -> "Extracted":
        """What `backbone` makes of the inputs."""
        from regraft.workbench.features import Extracted, features

        events = features(inputs, backbone, **settings)
        return next(event for event in watched(events, quiet=not self.verbose) if isinstance(event, Extracted))

    def _recipe(self, **fields: Any) -> Recipe:
        """The estimator's settings as a recipe, which checks their kinds and ranges: scikit-learn wants that in `fit`.

        Raises:
            BadRecipe: a value is of the wrong kind or out of range.
        """
        shared = {"seed": self.random_state, "device": self.device, "threads": self.threads}
        return built(Recipe, {"data": "in memory", **shared, **fields}, where=type(self).__name__)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = tags.input_tags.string = True
        return tags
