"""Models for predictions in the web interface; one is kept in memory at a time."""

import threading
from pathlib import Path

from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import Bundle
from regraft.contracts.example import Contents
from regraft.doors.http.batching import Input
from regraft.doors.http.inputs import Reader
from regraft.doors.http.settings import Settings
from regraft.errors import Undecodable
from regraft.values import Prediction
from regraft.workbench.mistakes import Looks
from regraft.workbench.predict import opened

SETTINGS = Settings(models=(), max_inputs=20)
"""Limits per request: 20 files, 32 MiB."""


class Models:
    """Cache of the last model used and the last examples viewed."""

    def __init__(self) -> None:
        self._alone = threading.Lock()
        self._bundle: tuple[tuple[str, int], Bundle] | None = None
        self._looks: tuple[Path, Looks] | None = None

    def bundle(self, run: Path) -> Bundle:
        """Raises: BundleError: the model is damaged or missing."""
        facts = bundle_folder(run) / "bundle.json"
        key = str(run), facts.stat().st_mtime_ns if facts.is_file() else 0
        with self._alone:
            if self._bundle is None or self._bundle[0] != key:
                self._bundle = key, opened(run)
            return self._bundle[1]

    def reader(self, bundle: Bundle) -> Reader:
        """Return the reader that converts request bodies to inputs of this model."""
        example: Contents = bundle.modality.golden(0, bundle.card.preparation)[0]
        return Reader(bundle.modality, example, SETTINGS)

    def predict(self, bundle: Bundle, inputs: list[Input]) -> list[tuple[str, Prediction | str]]:
        """Return the name of each input, and its prediction or the reason why it cannot be read."""
        said = list[tuple[str, Prediction | str]]()
        with self._alone:
            for one in inputs:
                try:
                    said.append((one.id, bundle.predict_prepared([bundle.prepare_pieces(one.value)])[0]))
                except Undecodable as error:
                    said.append((one.id, error.reason))
        return said

    def looks(self, run: Path) -> Looks:
        """Return the examples of a run's data."""
        with self._alone:
            if self._looks is None or self._looks[0] != run:
                self._looks = run, Looks(run)
            return self._looks[1]
