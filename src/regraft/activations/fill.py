"""Filling the store: run the stages below the cut once per example and view.

Letters: k rows of a batch.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from regraft.activations.disk import Memo, disk_of
from regraft.activations.entry import Entry
from regraft.activations.runner import BATCH, Prefixes, usable_cores
from regraft.activations.slots import (
    DIGEST_BYTES,
    HALF_LIMIT,
    OVERFLOW,
    PLACEMENT,
    RowKey,
    Slot,
    as_half,
    masked,
    overflows,
    stacked,
)  # fmt: skip
from regraft.activations.states import Arrays, States
from regraft.activations.store import Store
from regraft.activations.stored import FreshStates, StoredStates, ahead
from regraft.errors import RegraftError
from regraft.values import Event, Notice, Plan, Progress

WINDOW = 256
"""Ragged rows to process at once, so that rows of similar length fill batches. Our choice."""
Address = tuple[int, int, int]
"""(position of the example in the data set, number of the view, number of the piece)."""
Pieces = Int[np.ndarray, "pieces 2"]
"""Pieces of some examples in order: (position of the example, number of the piece)."""
Missing = dict[str, Bool[np.ndarray, "_ _"]]
"""By cut: which rows (pieces by views) must be computed."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where prepared inputs come from, and how they are identified."""

    contents: Sequence[str]
    """Content digest of each example."""
    load: Callable[[int, int, int], tuple[Arrays, Arrays]]
    """(example, view number, piece) -> prepared input and placement, without a row axis. A placement describes where
    the input lies in the example (crop geometry, token offsets), independent of labels; may be empty."""
    view_name: Callable[[int], str]
    """View number -> unique name of the view; `plain` for 0."""
    fields: Mapping[str, Any]
    """Preparation, including decoder and version, as JSON."""
    pieces_of: Callable[[int], int] = lambda example: 1
    """Number of pieces (windows, slices) of an example, each a row; known before any is prepared."""
    placement: Sequence[Slot] = ()
    """The arrays of a placement; empty if there is none."""
    workers: int = 2
    """Number of threads that prepare inputs."""


@dataclass(frozen=True, kw_only=True)
class Want:
    """States to store."""

    cut: str
    """The cut."""
    views: int
    """Number of views per example, including the plain one."""
    dtype: str
    """How floats are stored: `float16` or `float32`."""


class Activations:
    """The states of one data set below one backbone, stored and looked up. Use from one thread."""

    def __init__(self, store: Store, memo: Memo, prefixes: Prefixes, inputs: Inputs) -> None:
        self._store, self._memo, self._prefixes, self._inputs = store, memo, prefixes, inputs
        self._entries: dict[tuple[str, str], Entry] = {}
        self._opened: list[FreshStates | Entry] = []
        self.half_error: dict[str, float] = {}
        """By cut: error of features in float16, if measured."""

    def key(self, cut: str, dtype: str) -> dict[str, Any]:
        """Return everything that the values at `cut` depend on, besides the example."""
        backbone, prefixes = self._prefixes.backbone, self._prefixes
        computed: dict[str, Any] = {
            "backbone": f"{backbone.card.family}:{backbone.card.variant}",
            "digest": backbone.digest(cut),
            "view": prefixes.view if cut == "output" else "",
            "backend": prefixes.backend_name(self._together(cut)),
            "batch": BATCH,
        }
        if cut in prefixes.keep:
            computed["taps"] = prefixes.keep[cut]
        shapes = {name: [list(shape), kind] for name, (shape, kind) in prefixes.shapes.items()}
        inputs = {"shapes": shapes, **self._inputs.fields}
        if self._inputs.placement:
            inputs["placement"] = [slot.describe() for slot in self._inputs.placement]
        return {"cut": cut, "dtype": dtype, "inputs": inputs, **(computed if cut != "input" else {})}

    def entry(self, cut: str, dtype: str) -> Entry:
        """Return the store's entry for this cut; opened once and used until `close`."""
        if (cut, dtype) not in self._entries:
            self._entries[cut, dtype] = self._store.open(self.key(cut, dtype), self._slots(cut, dtype))
            self._opened.append(self._entries[cut, dtype])
        return self._entries[cut, dtype]

    def plan(self, want: Want, examples: Sequence[int]) -> Plan:
        """Return what filling would write, without doing it. `bytes_free` is what the store's limit and the disk allow.
        Ragged rows of unknown length are sampled."""
        entry, pieces, row_bytes = self.entry(want.cut, want.dtype), self._pieces(examples), None
        missing = {want.cut: self._missing(want, pieces)}
        count = int(missing[want.cut].sum())
        if count and self._prefixes.ragged and not len(entry):
            rows = islice(_addresses(missing, (want.cut,), pieces), BATCH)
            _, lengths = self._prefixes.states((want.cut,), [self._inputs.load(*row)[0] for row in rows])
            row_bytes = None if lengths is None else entry.row_bytes_of(float(lengths.mean()))
        return Plan(
            phase="activations",
            examples=count,
            bytes_needed=count * ((entry.row_bytes if row_bytes is None else row_bytes) + DIGEST_BYTES),
            bytes_free=min(disk_of(self._store.root)[1], self._store.available()),
            seconds=None,
        )

    def fill(self, wants: Sequence[Want], examples: Sequence[int]) -> Generator[Event, None, dict[str, str]]:
        """Compute what is missing, for all cuts in one pass; return the dtype that each cut is stored in.

        A cut requested in float16 is stored in float32 if float16 overflows or loses too much precision. If
        interrupted, computed rows are kept, and the next call continues. The `Plan` event, with the time estimated from
        one timed batch, comes before anything is stored.

        Raises:
            OutOfSpace: the store's limit or the disk is full.
            RegraftError: an example cannot be read (from `Inputs.load`).
        """
        order = {cut: i for i, cut in enumerate(self._prefixes.backbone.cuts)}
        wants = sorted(wants, key=lambda want: order[want.cut])
        try:
            return (yield from self._fill(wants, examples))
        except BaseException:
            with suppress(RegraftError):  # a full disk, say: what is on its way tells more, or the same
                self.close()
            raise

    def _fill(self, wants: Sequence[Want], examples: Sequence[int]) -> Generator[Event, None, dict[str, str]]:
        cuts, told, pieces = tuple(want.cut for want in wants), set[str](), self._pieces(examples)
        while True:
            backend = self._backend(cuts)
            kept = []
            for want in wants:
                kept.append(replace(want, dtype=self._checked_dtype(want, examples, cuts)))
                if kept[-1].dtype != want.dtype and want.cut not in told:
                    told.add(want.cut)
                    yield self._too_costly(want.cut)
            missing = {want.cut: self._missing(want, pieces) for want in kept}
            for combination, _ in _groups(missing, len(pieces)):
                if computed := tuple(cut for cut in combination if cut != "input"):
                    self._prefixes.runner(computed)  # whatever has to be exported is exported now
            if self._backend(cuts) != backend:
                self._entries = {}  # an export was refused just now: the rows have other keys
                continue
            overflowed = yield from self._compute(missing, pieces, {want.cut: want.dtype for want in kept})
            if overflowed is None:
                break
            self._memo.put(self._half_key(overflowed, examples), OVERFLOW)
        for want in kept:
            yield from self.entry(want.cut, want.dtype).take_notices()
        return {want.cut: want.dtype for want in kept}

    def states(self, want: Want, num_examples: int, examples: Sequence[int]) -> States:
        """Return the stored states of `examples` (filled before, all views), addressed by position in the data set."""
        entry = self.entry(want.cut, want.dtype)
        pieces = self._pieces(examples)
        rows = entry.rows(self._keys(want, pieces))
        first = pieces[:, 1] == 0
        place = np.full(num_examples, -1, dtype=np.int64)
        place[pieces[first, 0]] = np.flatnonzero(first) * want.views
        counts = np.zeros(num_examples, dtype=np.int64)
        np.maximum.at(counts, pieces[:, 0], pieces[:, 1] + 1)
        return StoredStates(rows, place, want.views, entry.shared(), counts)

    def fresh(self, cut: str) -> States:
        """Return states that are computed on demand."""

        def run(records: Sequence[Arrays]) -> dict[str, np.ndarray]:
            states, lengths = self._prefixes.states((cut,), records)
            return masked(states[cut], lengths)

        states = FreshStates(self._inputs.load, run, self._inputs.workers, self._inputs.pieces_of)
        self._opened.append(states)
        return states

    def close(self) -> None:
        """Flush rows in memory, and allow eviction of the entries again.

        Raises:
            OutOfSpace: the store's limit or the disk is full. Everything is released nevertheless.
        """
        opened, self._opened, self._entries = self._opened, [], {}
        with ExitStack() as closing:
            for one in opened:
                closing.callback(one.close)

    def _pieces(self, examples: Sequence[int]) -> Pieces:
        counts = np.array([self._inputs.pieces_of(example) for example in examples], dtype=np.int64)
        if (counts < 1).any():
            raise ValueError("Every example needs at least one piece.")
        numbers = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return np.stack([np.repeat(np.asarray(examples, dtype=np.int64), counts), numbers], axis=1)

    def _keys(self, want: Want, pieces: Pieces) -> Iterator[RowKey]:
        """Yield the keys of rows, the views of a piece next to each other; lazily, to save memory."""
        names = [self._inputs.view_name(number) for number in range(want.views)]
        for example, piece in zip(pieces[:, 0].tolist(), pieces[:, 1].tolist(), strict=True):
            content = self._inputs.contents[example]
            for name in names:
                yield RowKey(content, name, piece)

    def _missing(self, want: Want, pieces: Pieces) -> Bool[np.ndarray, "pieces views"]:
        absent = np.zeros(len(pieces) * want.views, dtype=bool)
        absent[self.entry(want.cut, want.dtype).missing(self._keys(want, pieces))] = True
        return absent.reshape(len(pieces), want.views)

    def _together(self, cut: str) -> tuple[str, ...]:
        """Return the cuts that most likely share a pass with `cut`, to be exported first if nothing is exported yet."""
        return (cut,) if cut == "output" else (cut, "output")

    def _backend(self, cuts: Sequence[str]) -> str:
        computed = tuple(cut for cut in cuts if cut != "input")
        return self._prefixes.backend_name(computed) if computed else ""

    def _slots(self, cut: str, dtype: str) -> list[Slot]:
        floats = {"float16", "float32", "float64"}
        state = [replace(slot, dtype=dtype) if slot.dtype in floats else slot for slot in self._prefixes.slots(cut)]
        return state + [replace(slot, name=PLACEMENT + slot.name) for slot in self._inputs.placement]

    def _half_key(self, cut: str, examples: Sequence[int]) -> list[Any]:
        """Return the key under which the float16 error is cached: it depends on the examples to be stored."""
        return [
            "half",
            2,
            self.key(cut, "float16"),
            [self._inputs.contents[i] for i in examples[:BATCH]],
            len(examples),
        ]

    def _checked_dtype(self, want: Want, examples: Sequence[int], cuts: tuple[str, ...]) -> str:
        """Return float32 if float16 loses too much on the first examples; measured once, then cached."""
        if want.dtype != "float16" or not len(examples) or _without_floats(self._prefixes.slots(want.cut)):
            return want.dtype
        key = self._half_key(want.cut, examples)
        error = self._memo.get(key)
        if not isinstance(error, float):
            records = [self._inputs.load(example, 0, 0)[0] for example in examples[:BATCH]]
            state = self._prefixes.states(cuts, records)[0][want.cut]
            from regraft.activations.export import half_error

            error = half_error(self._prefixes.backbone, want.cut, state, self._prefixes.view)
            self._memo.put(key, error)
        self.half_error[want.cut] = error
        return "float16" if error <= HALF_LIMIT else "float32"

    def _too_costly(self, cut: str) -> Notice:
        error = self.half_error[cut]
        what = (
            "overflows"
            if error == OVERFLOW
            else f"would change the features by {error:.1e} of their standard deviation"
        )
        return Notice(
            text=f"Activations at {cut} are kept in float32: float16 {what} (limit {HALF_LIMIT}).", topic="store"
        )

    def _compute(
        self, missing: Missing, pieces: Pieces, dtypes: Mapping[str, str]
    ) -> Generator[Event, None, str | None]:
        """Compute and store the missing rows; return the cut whose values are too large for float16, None if none."""
        groups, spent = _groups(missing, len(pieces)), deque[float](maxlen=4 * BATCH)
        total, done, began = sum(rows for _, rows in groups), 0, time.monotonic()
        row_seconds: float | None = None
        for cuts, _ in groups:
            for rows, loaded in ahead(
                lambda row: self._timed_load(row, spent), _addresses(missing, cuts, pieces),
                size=WINDOW if self._prefixes.ragged else BATCH,
                workers=self._inputs.workers,
            ):  # fmt: skip
                records, batch_began = [record for record, _ in loaded], time.perf_counter()
                states, lengths = self._prefixes.states(cuts, records)
                ran = (time.perf_counter() - batch_began) / len(rows)
                placed = stacked([{PLACEMENT + k: v for k, v in placement.items()} for _, placement in loaded])
                for cut, arrays in states.items():
                    if dtypes[cut] == "float16" and any(map(overflows, arrays.values())):
                        return cut
                if row_seconds is None:
                    # The first run also waits for what is done once, so where more batches come it is timed again.
                    ran = self._run_seconds(cuts, records[:BATCH]) if total > BATCH else ran
                    row_seconds = self._row_seconds(ran, list(spent))
                    length = None if lengths is None else float(lengths.mean())
                    seconds = time.monotonic() - began + row_seconds * (total - len(rows))
                    yield Plan(phase="activations", examples=total, seconds=seconds,
                               bytes_needed=self._bytes(missing, dtypes, length),
                               bytes_free=disk_of(self._store.root)[1])  # fmt: skip
                for cut, arrays in states.items():
                    self._keep(self.entry(cut, dtypes[cut]), rows, {**arrays, **placed}, lengths)
                done, now = done + len(rows), time.monotonic()
                if done == len(rows):  # the first batch also waits for what is done once: it does not set the pace
                    first, first_at, pace = done, now, row_seconds
                else:
                    pace = (now - first_at) / (done - first)
                yield Progress(phase="activations", done=done, total=total, seconds=now - began,
                               seconds_left=pace * (total - done))  # fmt: skip
        for cut, dtype in dtypes.items():
            self.entry(cut, dtype).flush()
        return None

    def _timed_load(self, row: Address, spent: deque[float]) -> tuple[Arrays, Arrays]:
        began = time.perf_counter()
        loaded = self._inputs.load(*row)
        spent.append(time.perf_counter() - began)
        return loaded

    def _run_seconds(self, cuts: tuple[str, ...], records: Sequence[Arrays]) -> float:
        began = time.perf_counter()
        self._prefixes.states(cuts, records)
        return (time.perf_counter() - began) / len(records)

    def _row_seconds(self, ran: float, spent: Sequence[float]) -> float:
        """Return the estimated seconds of a row that ran for `ran` seconds and whose loading took the seconds `spent`:
        by their median, since the first waits for cold files. Loading and running overlap, but share the cores."""
        loaded = float(np.median(spent))
        together = (loaded + ran * self._prefixes.threads) / usable_cores()
        return max(ran, loaded / max(1, self._inputs.workers), together)

    def _bytes(self, missing: Missing, dtypes: Mapping[str, str], length: float | None) -> int:
        entries = {cut: self.entry(cut, dtype) for cut, dtype in dtypes.items()}
        sizes = {cut: one.row_bytes if length is None else one.row_bytes_of(length) for cut, one in entries.items()}
        return sum(int(rows.sum()) * sizes[cut] for cut, rows in missing.items())

    def _keep(
        self, entry: Entry, rows: Sequence[Address], arrays: Arrays, lengths: Int[np.ndarray, " k"] | None
    ) -> None:
        contents, view_name = self._inputs.contents, self._inputs.view_name
        keys = [RowKey(contents[example], view_name(view), piece) for example, view, piece in rows]
        kept = {
            slot.name: as_half(arrays[slot.name]) if slot.dtype == "float16" else arrays[slot.name]
            for slot in (*entry.shared_slots, *entry.row_slots)
        }
        for slot in entry.shared_slots:
            entry.write_shared(slot.name, kept.pop(slot.name))
        entry.append(keys, kept, lengths)


def _groups(missing: Missing, num_pieces: int) -> list[tuple[tuple[str, ...], int]]:
    """Return the combinations of cuts at which rows are missing, each with the number of such rows."""
    codes, cuts = _codes(missing, num_pieces), list(missing)
    found = [(code, int((codes == code).sum())) for code in np.unique(codes) if code]
    return [(tuple(cut for bit, cut in enumerate(cuts) if code >> bit & 1), count) for code, count in found]


def _addresses(missing: Missing, cuts: tuple[str, ...], pieces: Pieces) -> Iterator[Address]:
    """Return the rows that are missing at exactly these cuts, piece by piece."""
    wanted = sum(1 << bit for bit, cut in enumerate(missing) if cut in cuts)
    for at, view in np.argwhere(_codes(missing, len(pieces)) == wanted):
        yield int(pieces[at, 0]), int(view), int(pieces[at, 1])


def _codes(missing: Missing, num_pieces: int) -> Int[np.ndarray, "_ _"]:
    """Return, by piece and view, a number whose bit i is set if the row is missing at the i-th cut."""
    views = max((rows.shape[1] for rows in missing.values()), default=0)
    codes = np.zeros((num_pieces, views), dtype=np.int64)
    for bit, rows in enumerate(missing.values()):
        codes[:, : rows.shape[1]] |= rows.astype(np.int64) << bit
    return codes


def _without_floats(slots: Sequence[Slot]) -> bool:
    return not any(slot.dtype.startswith("float") for slot in slots)
