"""Predict: a trained model on files and folders, one prediction after another."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from regraft.contracts.source import Columns
from regraft.data.archives import is_archive, unpacking
from regraft.data.sources import table
from regraft.errors import BadData
from regraft.recipe import Source
from regraft.values import Event, Notice, Prediction
from regraft.workbench._machine import choose_device, num_threads


def predict(
    model: Path,
    inputs: Sequence[Path],
    *,
    source: Source | None = None,
    abstain: float | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
) -> Iterator[Event | Prediction]:
    """Predictions of the model in `model` (a bundle or a run) for files, rows of tables and all files in folders and
    archives.

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
    inputs, names = yield from _rows(inputs, source or Source())
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
        known = _renamed(prediction, copies)
        yield replace(known, id=names.get(known.id, known.id))


def _rows(inputs: Sequence[Path], source: Source) -> Generator[Notice, None, tuple[Sequence[Path], Mapping[str, str]]]:
    """The inputs with the files of their rows in place of tables; and what these call them, by their paths."""
    found, names = list[Path](), dict[str, str]()
    for given in inputs:
        if not table.accepts(given):
            found.append(given)
            continue
        cells, files, notes = table.files_in(given, Columns(path=source.path_column, folder=source.folder))
        yield from notes
        found += files
        names |= zip(map(str, files), cells, strict=True)
    return found, names


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
