"""Which examples go through the tail together, in which views; fetched ahead in a thread, so that decoding or reading
goes on beside the arithmetic.

Letters: n examples, b rows of a batch, c outputs.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from regraft.activations.states import States
from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies.tail import Loss, Tail

AHEAD = 2
"""Batches that are fetched before they are asked for."""
ROWS = 64
"""Rows of a batch where nothing is trained."""
AGAIN = 1 << 20
"""Between the numbers of two views that an example is seen in within an epoch; more than there are ever epochs."""


class Draw(NamedTuple):
    """The rows of one batch."""

    examples: Int[np.ndarray, "b"]
    views: Int[np.ndarray, "b"]
    pieces: Int[np.ndarray, "b"] | None = None
    """None: every example is one piece."""


def num_batches(examples: int, size: int, min_rows: int = 1) -> int:
    """How many batches of at most `size` the examples make; fewer where one would have less than `min_rows`."""
    return max(1, min(math.ceil(examples / size), examples // min_rows))


def epoch_draws(problem: Problem, size: int, epoch: int, min_rows: int = 1) -> list[Draw]:
    """All training examples once, shuffled, in batches whose sizes differ by one at most."""
    examples = shuffling(problem, epoch).permutation(problem.train)
    views, pieces = views_of(problem, examples, epoch), None
    if (counts := problem.states.pieces_of(examples)).max(initial=1) > 1:  # every piece once, an example's together
        examples, views, pieces = np.repeat(examples, counts), np.repeat(views, counts), numbered(counts)
    return cut(examples, views, num_batches(len(examples), size, min_rows), pieces)


def shuffling(problem: Problem, epoch: int) -> np.random.Generator:
    """What draws the order of an epoch, counted from 0."""
    return np.random.default_rng(derive_seed(problem.seed, "order", epoch))


def views_of(
    problem: Problem, examples: Int[np.ndarray, "n"], epoch: int, again: Int[np.ndarray, "n"] | int = 0
) -> Int[np.ndarray, "n"]:
    """The view that each of these examples is seen in, in this epoch; `again` counts how often each was drawn before in
    it.

    Of K stored views an example is seen in another one each epoch, in turn from a drawn start: in K epochs in each of
    them once, the plain one among them. Where views are made new, it is one that no other epoch has.
    """
    num_views = problem.states.num_views
    if num_views is None:
        return np.full(len(examples), epoch + 1) + again * AGAIN
    first = np.random.default_rng(derive_seed(problem.seed, "views")).integers(num_views, size=len(problem.targets))
    views: np.ndarray = (first[examples] + epoch + again) % num_views
    return views


def numbered(counts: Int[np.ndarray, "n"]) -> Int[np.ndarray, "b"]:
    """0, 1 … for each count, one behind the other: `[2, 1, 3]` gives `[0, 1, 0, 0, 1, 2]`."""
    numbers: np.ndarray = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def plain_draws(
    examples: Int[np.ndarray, "n"], min_rows: int = 1, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """These examples (with pieces: these pieces of them) in this order in their plain view."""
    return cut(examples, np.zeros_like(examples), num_batches(len(examples), ROWS, min_rows), pieces)


def cut(
    examples: Int[np.ndarray, "n"], views: Int[np.ndarray, "n"], count: int, pieces: Int[np.ndarray, "n"] | None = None
) -> list[Draw]:
    """`count` batches in this order, of sizes that differ by one at most."""
    columns = [np.array_split(column, count) for column in (examples, views, *([] if pieces is None else [pieces]))]
    return [Draw(*columns_of_one) for columns_of_one in zip(*columns, strict=True)]


def fetched(states: States, draws: Sequence[Draw], device: torch.device) -> Generator[dict[str, Tensor], None, None]:
    """The states of each draw as tensors on `device`, grids in channels-last order. Close it when leaving early."""
    waiting: deque[Future[dict[str, Tensor]]] = deque()
    ahead = ThreadPoolExecutor(1, thread_name_prefix="states")
    try:
        for draw in draws:
            waiting.append(ahead.submit(_tensors, states, draw, device))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        ahead.shutdown(wait=True, cancel_futures=True)


def _tensors(states: States, draw: Draw, device: torch.device) -> dict[str, Tensor]:
    # what is made on the device stays there; the rest comes from memory or disk
    if draw.views.all() and (made := states.on_device(draw.examples, draw.views)) is not None:
        return {name: _placed(tensor, device) for name, tensor in made.items()}
    arrays = states.batch(draw.examples, draw.views, draw.pieces)
    return {name: _placed(torch.from_numpy(np.ascontiguousarray(array)), device) for name, array in arrays.items()}


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.ndim == 4 and tensor.is_floating_point():
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


def encoded(problem: Problem, draw: Draw, device: torch.device) -> Any:
    """The targets of a batch as the loss takes them, on `device`."""
    asked = (draw.examples, draw.views, draw.pieces)
    placements = problem.states.placements(*asked) if problem.task.moves else {}
    return in_tree(problem.task.encoded(problem.targets[draw.examples], placements), lambda a: _tensor(a, device))


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def in_tree(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree (a leaf, or a mapping of leaves by name) of changed leaves."""
    return {name: change(leaf) for name, leaf in tree.items()} if isinstance(tree, Mapping) else change(tree)


def predict(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> np.ndarray:
    """Raw outputs on the plain view, in evaluation mode: logits (n c) for most tasks."""
    return evaluated(tail, problem, positions)[0]


def evaluated(
    tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"], loss: Loss | None = None
) -> tuple[np.ndarray, float]:
    """Raw outputs on the plain view, in evaluation mode; and the mean loss over rows, NaN where none is given."""
    counts, task, total = problem.states.pieces_of(positions), problem.task, 0.0
    several = counts.max(initial=1) > 1
    rows, pieces = (np.repeat(positions, counts), numbered(counts)) if several else (positions, None)
    batches, device = [], next(tail.parameters()).device
    for draw, state in _passing(tail, problem, rows, pieces):
        output = tail(state)
        if loss is not None:
            total += float(loss(output, encoded(problem, draw, device))) * len(draw.examples)
        if task.generates:
            assert tail.network.generate is not None, "a task that generates needs a network that does"
            output = tail.network.generate(tail.network, state, tail.cut, tail.head)
        batches.append(in_tree(output, lambda leaf: leaf.cpu().numpy()))
    placements = problem.states.placements(rows, np.zeros_like(rows), pieces) if task.moves and len(rows) else {}
    raw = task.gathered(batches, np.repeat(np.arange(len(positions)), counts), placements)
    return raw, total / len(rows) if loss is not None and len(rows) else math.nan


def features(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n ..."]:
    """The readout that the head reads, of the plain view, in evaluation mode."""
    found = [np.zeros((0, problem.backbone.card.width), dtype=np.float32)] if not len(positions) else []
    for _, state in _passing(tail, problem, positions, None):
        read = tail.features(state)
        found.append((read[tail.readout] if isinstance(read, Mapping) else read).cpu().numpy())
    return np.concatenate(found)


def _passing(
    tail: Tail, problem: Problem, rows: Int[np.ndarray, "b"], pieces: Int[np.ndarray, "b"] | None
) -> Iterator[tuple[Draw, dict[str, Tensor]]]:
    """Batches of plain states, the tail in evaluation mode and gradients off meanwhile."""
    if not len(rows):
        return
    draws, was_training = plain_draws(rows, pieces=pieces), tail.training
    tail.eval()
    with torch.no_grad():
        yield from zip(draws, fetched(problem.states, draws, next(tail.parameters()).device), strict=True)
    tail.train(was_training)
