"""What the tests of filling share: the toy's inputs, and stores filled with its states."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from regraft.activations.disk import Memo
from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.runner import Prefixes
from regraft.activations.store import Store
from regraft.backbones.backbone import Backbone
from regraft.bundle_format import part_digests, write_tensors
from regraft.identity import digest_json
from regraft.values import Event, Notice
from toy_backbone import SHAPES, toy_input

NUM = 37
AT_CUT = Want(cut="layer.0", views=2, dtype="float32")
AT_TOP = Want(cut="output", views=1, dtype="float32")

Arrays = dict[str, np.ndarray]
Load = Callable[[int, int], Arrays]


class Source:
    """The toy's inputs, which remember what was asked for; piece p of an example looks like example + NUM * p."""

    def __init__(self, load: Load = toy_input, place: Load = lambda example, number: {}) -> None:
        self.asked: list[tuple[int, int]] = []
        self._load, self._place = load, place

    def __call__(self, example: int, number: int, piece: int) -> tuple[Arrays, Arrays]:
        self.asked.append((example, number))
        seen = example + NUM * piece
        return self._load(seen, number), self._place(seen, number)

    def inputs(self, **how: Any) -> Inputs:
        known: dict[str, Any] = {
            "contents": [digest_json(example) for example in range(NUM)],
            "load": self,
            "view_name": lambda number: f"{number}:shift" if number else "plain",
            "fields": {"rule": 1},
        }
        return Inputs(**{**known, **how})


def activations(
    backbone: Backbone, root: Path, source: Source | None = None, *, shapes: Any = None, backend: str = "auto",
    view: str = "pooled", keep: Any = MappingProxyType({}),
    limit: int | None = None, shard_bytes: int = 1 << 20, notices: list[Notice] | None = None,
    **inputs: Any,
) -> Activations:  # fmt: skip
    """The toy's activations in the store at `root`; to be closed."""
    memo = Memo(root)
    prefixes = Prefixes(backbone, shapes or SHAPES, view=view, memo=memo, backend=backend, threads=1, keep=keep)
    if notices is not None:
        prefixes.notices = notices
    store = Store(root, limit, shard_bytes=shard_bytes)
    return Activations(store, memo, prefixes, (source or Source()).inputs(**inputs))


def drain(filling: Iterator[Event]) -> tuple[list[Event], dict[str, str]]:
    """The events, and what the generator returned."""
    events = []
    while True:
        try:
            events.append(next(filling))
        except StopIteration as stop:
            return events, stop.value


def filled(made: Activations, wants: Sequence[Want], examples: Sequence[int] = range(NUM)) -> list[dict[str, Any]]:
    """Fill, read all states back, as one record by want, and close."""
    _, dtypes = drain(made.fill(wants, examples))
    found = []
    for want in wants:
        states = made.states(replace(want, dtype=dtypes[want.cut]), NUM, examples)
        pairs = list(itertools.product(examples, range(want.views)))
        found.append(states.batch(np.array([e for e, _ in pairs]), np.array([v for _, v in pairs])))
    made.close()
    return found


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Bit for bit; the tests' states hold no values that are no numbers."""
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def with_tensors(plain: Backbone, path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Backbone:
    """The backbone whose tensors, written to `path`, `change` has changed in place."""
    tensors = {name: array.copy() for name, array in plain.tensors().items()}
    change(tensors)
    write_tensors(path, tensors)
    digests = part_digests(tensors)
    return replace(plain, tensors_path=path, stage_digests={stage: digests[stage] for stage in plain.card.stages})
