"""A fitted estimator's model: a folder that lives as long as the estimator, and travels inside its pickle."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.errors import RunError

if TYPE_CHECKING:
    from regraft.bundles.bundle import Model


class Kept:
    """A saved model in a temporary folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="regraft-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._model: Model | None = None
        self._travelled = False

    @property
    def path(self) -> Path:
        """Where the model lies, or is to be written."""
        return self._folder / "model"

    def model(self) -> "Model":
        """The model, loaded on first use. One that came out of a pickle is checked: digests, and golden inputs."""
        if self._model is None:
            from regraft.bundles.bundle import load

            self._model = load(self.path, verify=self._travelled).model
        return self._model

    def save(self, path: Path) -> None:
        """Copy the model to the new folder `path`.

        Raises:
            RunError: there is something already.
        """
        if path.exists():
            raise RunError(f"{path} is there already.", fix="give another folder: nothing is overwritten.")
        shutil.copytree(self.path, path)

    def __getstate__(self) -> Mapping[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted(self.path.iterdir())}

    def __setstate__(self, files: Mapping[str, bytes]) -> None:
        self.__init__()  # type: ignore[misc]
        self._travelled = True
        self.path.mkdir()
        for name, data in files.items():
            (self.path / name).write_bytes(data)

    def __deepcopy__(self, memo: Any) -> "Kept":
        copied = Kept()
        copied.__setstate__(self.__getstate__())
        return copied
