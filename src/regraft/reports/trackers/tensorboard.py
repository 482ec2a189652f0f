"""TensorBoard: event files in the run's folder `tensorboard`, read by `tensorboard --logdir runs`."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from regraft.contracts.tracker import Tracker
from regraft.errors import MissingExtra


class TensorBoard(Tracker):
    """Scalars by steps, the recipe as text."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            import tensorboard  # noqa: F401 - what torch's writer needs
        except ImportError as error:
            raise MissingExtra("tensorboard", "tensorboard", "Logging to TensorBoard") from error

    def values(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finished(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        self._writer.add_text("recipe", "\n".join(f"    {name} = {value}" for name, value in settings.items()))
        self.values(0, {f"report/{name}": value for name, value in results.items()})
        self._writer.close()

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder / "tensorboard"))


ENTRY = TensorBoard
