"""Bench: time a model on this machine in every format it can be exported to."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.activations.openvino import processor
from regraft.activations.runner import BATCH
from regraft.bundle_format import TENSORS, bundle_folder
from regraft.bundles.bundle import Bundle, load
from regraft.bundles.exporting import fed, open_export, size_of, write_export
from regraft.contracts.example import Contents
from regraft.contracts.export import EXPORTS
from regraft.contracts.modality import Record
from regraft.errors import BadRequest, MissingExtra
from regraft.values import Event, Notice, Progress
from regraft.workbench._machine import num_threads

Way = tuple[Callable[[Sequence[int]], Any], int, bool]
"""(function that runs golden inputs by number, size of the files in bytes, whether it is a checked export)."""
ITSELF = "regraft"
"""Name of the model itself, not exported."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Timing of one format."""

    name: str
    """Name of the format, or `regraft`."""
    bytes: int
    """Size of its files in bytes."""
    p50_ms: float
    """Median latency of a single prepared input in milliseconds."""
    p95_ms: float
    """95th percentile of that latency in milliseconds."""
    per_second: float
    """Throughput in prepared inputs per second, in batches of 16; median over rounds."""
    exported: bool
    """Whether a checked export was timed; otherwise one made for the purpose, not compared with the model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Benched(Event):
    """The last event of `bench`."""

    model: str
    """Folder of the model."""
    processor: str
    """Name of the processor, with its low-precision instruction sets."""
    threads: int
    """Number of CPU threads per format."""
    prepare_ms: float
    """Median time to read and prepare a golden input in milliseconds; the same for all formats."""
    formats: Sequence[Timed]
    """Timings by format, `regraft` first."""


def bench(
    model: Path, *, to: Sequence[str] = (), rounds: int = 20, batches: int = 3, threads: int = 0
) -> Iterator[Event]:
    """Time the model in `model`, and its exports, on the golden inputs; yields events, the last one a `Benched`.

    Each of `rounds` times every format in turn (so that other load affects all alike): four single inputs, then
    `batches` batches. `to` lists the formats; empty: all that can be made here. An export in the model's folder is used
    if there is one; otherwise one is made.

    Raises:
        BadRequest: a number is out of range, or a format of `to` cannot be made.
        MissingExtra: a format of `to` needs a package that is not installed.
    """
    if min(rounds, batches) < 1:
        raise BadRequest(
            f"rounds is {rounds} and batches is {batches}; both must be 1 or more.", fix="set both to 1 or more."
        )
    cores = num_threads(threads)
    bundle = load(model, threads=cores, workers=cores)
    yield from bundle.notices
    golden = bundle.modality.golden(0, bundle.card.preparation)
    began = [time.perf_counter()]
    records = list[Record]()
    for contents in golden * 3:
        records.append(bundle.prepare(contents))
        began.append(time.perf_counter())
    with tempfile.TemporaryDirectory(prefix="regraft-") as folder:
        own = size_of(bundle_folder(model), TENSORS)
        ways: dict[str, Way] = {ITSELF: (lambda which: bundle.logits([records[at] for at in which]), own, True)}
        for name in to or EXPORTS.names():
            try:
                ways[name] = _way(bundle, name, model, Path(folder), golden, cores)
            except (MissingExtra, BadRequest) as error:
                if to:
                    raise
                yield Notice(text=f"{name} is left out: {error.message} {error.fix}", topic="export")
        alone, many = {name: list[float]() for name in ways}, {name: list[float]() for name in ways}
        for done in range(rounds):
            for name, (run, _, _) in ways.items():
                one, batch = [0], [at % len(golden) for at in range(BATCH)]
                if not done:
                    run(one), run(batch)  # makes room, chooses kernels
                alone[name] += [_seconds(run, one) for _ in range(4)]
                many[name].append(float(np.mean([_seconds(run, batch) for _ in range(batches)])))
            yield Progress(phase="measuring", done=done + 1, total=rounds)
    formats = [
        Timed(
            name=name, bytes=size, p50_ms=1e3 * float(np.quantile(alone[name], 0.5)),
            p95_ms=1e3 * float(np.quantile(alone[name], 0.95)), per_second=BATCH / float(np.median(many[name])),
            exported=checked,
        )
        for name, (_, size, checked) in ways.items()
    ]  # fmt: skip
    called, units = processor()
    yield Benched(
        model=str(model), processor=f"{called} ({', '.join(units) or 'no low-precision instructions'})", threads=cores,
        prepare_ms=1e3 * float(np.median(np.diff(began))), formats=formats,
    )  # fmt: skip


def _way(bundle: Bundle, name: str, model: Path, scratch: Path, golden: Sequence[Contents], threads: int) -> Way:
    """What runs golden inputs in a format, the size of its files, and whether it is an export that was checked."""
    feeds = [fed(bundle, contents, bundle.prepare_pieces(contents)) for contents in golden]
    made, folder = EXPORTS.get(name), model / "exports" / name
    checked = (folder / "spec.json").is_file()
    if checked:
        ready = open_export(folder, threads)
    else:
        folder = scratch / name
        folder.mkdir()
        ready = write_export(bundle, made, folder, feeds if made.calibrates else (), threads)
    return lambda which: ready.outputs([feeds[at] for at in which]), size_of(folder, made.file), checked


def _seconds(run: Callable[[Sequence[int]], Any], batch: Sequence[int]) -> float:
    began = time.perf_counter()
    run(batch)
    return time.perf_counter() - began
