"""Which examples go through the tail together, in which views; fetched ahead in a thread, so that decoding or reading
goes on beside the arithmetic.

Letters: n examples, b rows of a batch, c outputs.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from regraft.activations.states import States
from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies.tail import Tail

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


def num_batches(examples: int, size: int, min_rows: int = 1) -> int:
    """How many batches of at most `size` the examples make; fewer where one would have less than `min_rows`."""
    return max(1, min(math.ceil(examples / size), examples // min_rows))


def epoch_draws(problem: Problem, size: int, epoch: int, min_rows: int = 1) -> list[Draw]:
    """All training examples once, shuffled, in batches whose sizes differ by one at most."""
    examples = shuffling(problem, epoch).permutation(problem.train)
    return cut(examples, views_of(problem, examples, epoch), num_batches(len(examples), size, min_rows))


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


def plain_draws(examples: Int[np.ndarray, "n"], min_rows: int = 1) -> list[Draw]:
    """These examples in this order in their plain view."""
    return cut(examples, np.zeros_like(examples), num_batches(len(examples), ROWS, min_rows))


def cut(examples: Int[np.ndarray, "n"], views: Int[np.ndarray, "n"], count: int) -> list[Draw]:
    """`count` batches in this order, of sizes that differ by one at most."""
    return [Draw(*pair) for pair in zip(np.array_split(examples, count), np.array_split(views, count), strict=True)]


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
    arrays = states.batch(draw.examples, draw.views)
    return {name: _placed(torch.from_numpy(np.ascontiguousarray(array)), device) for name, array in arrays.items()}


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.ndim == 4 and tensor.is_floating_point():
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


def predict(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n c"]:
    """Logits on the plain view, in evaluation mode."""
    return _asked(tail, problem, positions, tail, problem.task.num_outputs)


def features(tail: Tail, problem: Problem, positions: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n ..."]:
    """What the head reads of the plain view, in evaluation mode."""
    return _asked(tail, problem, positions, tail.features, problem.backbone.card.width)


def _asked(
    tail: Tail,
    problem: Problem,
    positions: Int[np.ndarray, "n"],
    ask: Callable[[Mapping[str, Tensor]], Tensor],
    width: int,
) -> Float[np.ndarray, "n ..."]:
    if not len(positions):
        return np.zeros((0, width), dtype=np.float32)
    device, was_training = next(tail.parameters()).device, tail.training
    tail.eval()
    with torch.no_grad():
        rows = [ask(state).cpu().numpy() for state in fetched(problem.states, plain_draws(positions), device)]
    tail.train(was_training)
    return np.concatenate(rows)
