"""Predict with a trained model on files, folders and tables, one prediction at a time."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.contracts.example import Columns, Contents, File, Labelling
from regraft.data.archives import SHOWN, is_archive, is_volume, unpacking
from regraft.data.open import open_dataset, source_of
from regraft.data.sources import table
from regraft.data.sources.coco import written
from regraft.data.sources.folder import files_in
from regraft.errors import BadData, BadRequest
from regraft.files import atomic, write_json
from regraft.recipe import Source
from regraft.values import Event, Notice, Prediction
from regraft.words import joined, named
from regraft.workbench._machine import choose_device, num_threads

if TYPE_CHECKING:
    from regraft.bundles.bundle import Bundle


def predict(
    model: Path,
    inputs: Sequence[Path],
    *,
    source: Source | None = None,
    abstain: float | None = None,
    draw: Path | None = None,
    coco: Path | None = None,
    gallery: Path | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int = 0,
) -> Iterator[Event | Prediction]:
    """Yield the predictions of the model in `model` (a bundle or a run) for files, rows of tables, examples listed in a
    file, slices of volumes, and all examples in folders and archives.

    Folders are read as in training, with a notice about files that are skipped. A file that cannot be read gives a
    prediction with `error`. Masks and boxes are drawn over their inputs in the folder `draw`, masks also alone; the
    records of masks then name the `files`. Predicted boxes are written to the file `coco`, with files named relative to
    it. `gallery` contains labelled examples of the enrolled identities.

    Raises:
        BundleError: the model is damaged or predicts differently on this machine.
        BadData: a path does not exist, or there is nothing to predict.
        BadRequest: `draw` or `coco` is given, but predictions of this model cannot be drawn, or are not boxes.
    """
    bundle = opened(model, device=device, backend=backend, threads=threads)
    yield from bundle.notices
    if draw is not None and type(bundle.model.task).marks is Labelling.marks:
        kind = bundle.model.task.kind
        raise BadRequest(
            f"Predictions of a {kind} model cannot be drawn; only masks and boxes can.", fix="leave out --draw."
        )
    if gallery is not None:
        enrol(bundle, gallery)
    task, boxes = bundle.model.task, dict[str, Sequence[Mapping[str, Any]]]()
    if coco is not None:
        task.boxed([])  # says so where there are none
    if bundle.modality.rows:
        yield from _of_rows(bundle, inputs, abstain)
        return
    inputs, names, rows = yield from _rows(inputs, source or Source())
    archives = dict[Path, Path]()
    for given in inputs:
        if is_archive(given):
            archives[given] = yield from unpacking(given)
        elif is_volume(given):
            archives[given] = (yield from unpacking(given)) / SHOWN
    copies = {copy: given for given, copy in archives.items()}
    paths = list[Path]()
    for given in inputs:
        found, notes = files_of(archives.get(given, given), bundle.modality.name)
        paths += found
        yield from notes
    if not paths and not rows:
        many = bundle.modality.many
        raise BadData(f"There are no {many} in {', '.join(map(str, inputs))}.", fix=f"pass {many}, or folders of them.")
    used = set[str]()
    for path, prediction in zip(paths, bundle.stream(paths, abstain=abstain), strict=True):
        if coco is not None and prediction.error is None:
            boxes[os.path.relpath(path, coco.parent)] = task.boxed(prediction.record)
        shown = prediction if draw is None else _drawn(bundle, path, prediction, draw, used)
        known = _renamed(shown, copies)
        yield replace(known, id=names.get(known.id, known.id))
    for (name, _), prediction in zip(rows, bundle.stream([one for _, one in rows], abstain=abstain), strict=True):
        yield replace(prediction, id=name)
    if coco is not None:
        write_json(coco, written(boxes, task.classes))


def opened(model: Path, *, device: str = "auto", backend: str = "auto", threads: int = 0) -> "Bundle":
    """Open the model in `model` (a bundle or a run), verify its digests and replay its golden inputs; 0 threads: all
    cores.

    Raises:
        BundleError: the model is damaged or predicts differently on this machine.
    """
    from regraft.bundles.bundle import load

    count = num_threads(threads)
    return load(model, device=choose_device(device), backend=backend, threads=count, workers=count)


def enrol(bundle: "Bundle", gallery: Path) -> None:
    """Enrol the identities of the labelled examples in `gallery`, to be found by the model in all further inputs.

    Raises:
        BadData: an example cannot be read.
        BadRequest: the model does not identify individuals.
    """
    task = bundle.model.task
    found = open_dataset(gallery, modality=bundle.modality.name, task=task.kind, learnable=False).examples
    said = list(bundle.stream([one.contents for one in found]))
    if unread := [one.id for one, seen in zip(found, said, strict=True) if seen.error is not None]:
        raise BadData(f"{gallery}: {named(unread)} cannot be read.", fix="repair these files, or take them out.")
    names = [task.named(one.label)[0] for one in found]
    enrolled = task.enrolled(names, task.restored([one.record for one in said]))
    bundle.model = replace(bundle.model, task=enrolled)


def _of_rows(bundle: "Bundle", inputs: Sequence[Path], abstain: float | None) -> Iterator[Event | Prediction]:
    """Return predictions for every row of tables, with the table's name if there are several."""
    for given in inputs:
        if not table.accepts(given):
            raise BadData(f"{given} is not a table; this model requires {bundle.modality.many} of a table.",
                          fix=f"pass a file that ends in {', '.join(table.SUFFIXES)}.")  # fmt: skip
        names, rows, notes = table.rows_in(given, bundle.modality)
        yield from notes
        for name, prediction in zip(names, bundle.stream(rows, abstain=abstain), strict=True):
            yield replace(prediction, id=f"{given.name} {name}" if len(inputs) > 1 else name)


def _rows(
    inputs: Sequence[Path], source: Source
) -> Generator[Notice, None, tuple[Sequence[Path], Mapping[str, str], list[tuple[str, Contents]]]]:
    """The inputs with the files of their rows in place of tables, and of their examples in place of other files that
    list some; what these call them, by their paths; and the rows whose cells are the content itself, by name."""
    found, names, inline = list[Path](), dict[str, str](), list[tuple[str, Contents]]()
    columns = Columns(**vars(source))
    for given in inputs:
        if table.accepts(given):
            cells, contents, notes = table.contents_in(given, columns)
            yield from notes
        elif given.is_file() and not is_archive(given) and (reader := source_of(given)):
            examples = reader.open(given, replace(columns, unlabelled=True)).examples
            cells, contents = [one.id for one in examples], [one.contents for one in examples]
        else:
            found.append(given)
            continue
        for cell, one in zip(cells, contents, strict=True):
            content = next(iter(one.values()))
            if isinstance(content, File):
                found.append(content.path)
                names[str(content.path)] = cell
            else:
                inline.append((cell, one))
    return found, names, inline


def _drawn(bundle: "Bundle", path: Path, prediction: Prediction, folder: Path, names: set[str]) -> Prediction:
    """Return the prediction with its drawings; files are named after the input, with `-2` for the second of a name."""
    record = prediction.record
    if prediction.error is not None:
        return prediction
    marks = bundle.model.task.marks(record)
    assert marks is not None, "given before"
    folder.mkdir(parents=True, exist_ok=True)
    stem = next(name for at in count(1) if (name := path.stem + (f"-{at}" if at > 1 else "")) not in names)
    names.add(stem)
    files = {stem + end: data for end, data in bundle.modality.marked(File(path), marks).items()}
    for name, data in files.items():
        with atomic(folder / name) as file:
            file.write(data)
    return replace(prediction, record={**record, "files": list(files)}) if isinstance(record, Mapping) else prediction


def _renamed(prediction: Prediction, copies: Mapping[Path, Path]) -> Prediction:
    """Return the prediction under the user's name of the input: the path of the archive, continued inside."""
    for copy, given in copies.items():
        if Path(prediction.id).is_relative_to(copy):
            error = prediction.error and prediction.error.replace(str(copy), str(given))
            return replace(prediction, id=prediction.id.replace(str(copy), str(given), 1), error=error)
    return prediction


def files_of(given: Path, modality: str) -> tuple[list[Path], list[Notice]]:
    """Return the file, or the examples in the folder, in order, and the files skipped there, as in training."""
    if given.is_dir():
        reader = source_of(given)
        folders = list(reader.examples_in(given)) if reader else []
        found = [files_in(one, modality) for one in folders or [given]]
        text = f"{given} holds labels too; predicted are the files in {joined(map(str, folders))}."
        notes = [Notice(text=text, topic="data")] if folders else []
        return [file for files, _ in found for file in files], [*notes, *(note for _, more in found for note in more)]
    if given.is_file() or given.is_symlink():  # of a link that leads nowhere the prediction says so
        return [given], []
    raise BadData(f"{given} does not exist.", fix="check the path.")
