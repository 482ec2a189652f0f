"""What classifier and regressor share: settings, training, and logits.

Letters: n examples, c outputs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

from regraft.contracts.example import Example
from regraft.contracts.modality import MODALITIES
from regraft.data.dataset import Dataset
from regraft.doors._terminal import watched
from regraft.estimators._base import PictureEstimator
from regraft.estimators._kept import Kept


class TransferEstimator(PictureEstimator):
    """An estimator that trains a head, and as much of the network below it as its strategy says."""

    def __init__(
        self,
        backbone: Any = "googlenet",
        *,
        strategy: Any = "probe",
        cut: Any = "",
        input_px: Any = 0,
        channels: Any = 0,
        augmentation: Any = "default",
        views: Any = -1,
        options: Any = None,
        random_state: Any = 0,
        device: Any = "auto",
        threads: Any = 0,
        verbose: Any = False,
    ) -> None:
        """Settings are those of a recipe, checked in `fit`.

        Args:
            backbone: NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model.
            strategy: probe, partial, full, lp_ft, …: `regraft strategies` lists them.
            cut: last frozen stage; empty: the strategy's own.
            input_px: side of the square input in pixels; 0: the card's own size.
            channels: of the pictures; 0: as many as the backbone has, else its first convolution is adapted.
            augmentation: how views differ from the plain one.
            views: views per example kept at the cut; 0: a new one every epoch; -1: the strategy's own.
            options: the strategy's options that differ from its defaults, by name.
            random_state: the seed, a whole number.
            device: cpu, cuda, mps, or auto.
            threads: CPU threads of the network; 0: all cores.
            verbose: whether progress and notices go to stderr.
        """
        self.backbone = backbone
        self.strategy = strategy
        self.cut = cut
        self.input_px = input_px
        self.channels = channels
        self.augmentation = augmentation
        self.views = views
        self.options = options
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.verbose = verbose

    def save(self, path: str | Path) -> None:
        """Write the model to a new folder, for `regraft predict`, `regraft.load`, or as the next backbone."""
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
        self, inputs: list[Any], *, kind: str, labels: Sequence[str], classes: tuple[str, ...], groups: Any
    ) -> None:
        from regraft.workbench.train import Trained, train

        named = {
            name: getattr(self, name)
            for name in ("backbone", "strategy", "cut", "input_px", "channels", "augmentation", "views")
        }
        recipe = self._recipe(**named, options=self.options or {})
        if groups is not None:
            check_consistent_length(inputs, groups)
        of = [None] * len(inputs) if groups is None else [str(group) for group in np.asarray(groups).tolist()]
        reads, model = MODALITIES.get("image"), Kept()
        contents = [reads.given(one) for one in inputs]
        examples = tuple(
            Example(id=f"{at}:{next(iter(one.values()))}", contents=one, label=label, group=group)
            for at, (one, label, group) in enumerate(zip(contents, labels, of, strict=True))
        )
        dataset = Dataset(root=Path(), examples=examples, classes=classes, kind=kind)
        for event in watched(train(recipe, dataset, model.path), quiet=not self.verbose):
            if isinstance(event, Trained):
                self._tuned = event.tuned
        self._model = model

    def _fitted(self) -> Kept:
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
