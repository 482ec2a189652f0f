"""Predict: a trained model on files and folders, one prediction after another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from regraft.data.archives import is_archive, unpacking
from regraft.errors import BadData
from regraft.values import Event, Notice, Prediction
from regraft.workbench._machine import choose_device, num_threads


def predict(
    model: Path,
    inputs: Sequence[Path],
    *,
    abstain: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
) -> Iterator[Event | Prediction]:
    """Predictions of the model in `model` (a bundle or a run) for files and for all files in folders and archives.

    Hidden files and folders are passed over and said so. A file that cannot be read gives a prediction with `error`.

    Raises:
        BundleError: the model is damaged or predicts otherwise on this machine.
        BadData: a path does not exist, or there is nothing to predict.
    """
    from regraft.bundles.bundle import load

    bundle = load(
        model, device=choose_device(device), backend=backend, threads=num_threads(threads), workers=num_threads(threads)
    )
    yield from bundle.notices
    archives = dict[Path, Path]()
    for given in filter(is_archive, inputs):
        archives[given] = yield from unpacking(given)
    copies = {copy: given for given, copy in archives.items()}
    paths, hidden = _files([archives.get(given, given) for given in inputs])
    if hidden:
        yield Notice(text=f"{hidden} hidden files or folders were passed over.", topic="data")
    if not paths:
        raise BadData(f"There is no file in {', '.join(map(str, inputs))}.", fix="give images, or folders with some.")
    for prediction in bundle.stream(paths, abstain=abstain):
        yield _renamed(prediction, copies)


def _renamed(prediction: Prediction, copies: Mapping[Path, Path]) -> Prediction:
    """The prediction under the name that the user knows: the path of the archive, going on inside."""
    for copy, given in copies.items():
        if Path(prediction.id).is_relative_to(copy):
            error = prediction.error and prediction.error.replace(str(copy), str(given))
            return replace(prediction, id=prediction.id.replace(str(copy), str(given), 1), error=error)
    return prediction


def _files(inputs: Sequence[Path]) -> tuple[list[Path], int]:
    """All files, in order; and how many hidden ones were passed over."""
    found, hidden = [], 0
    for given in inputs:
        if given.is_file():
            found.append(given)
        elif given.is_dir():
            for path in sorted(given.rglob("*")):
                if any(part.startswith(".") for part in path.relative_to(given).parts):
                    hidden += 1
                elif path.is_file():
                    found.append(path)
        else:
            raise BadData(f"There is nothing at {given}.", fix="check the path.")
    return found, hidden
