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

from regraft.activations.states import DeviceStates, States
from regraft.contracts.strategy import Problem
from regraft.identity import derive_seed
from regraft.strategies._resample import resampled
from regraft.strategies._tail import Tail

AHEAD = 2
"""Batches that are fetched before they are asked for."""
ROWS = 64
"""Rows of a batch where nothing is trained."""
AGAIN = 1 << 20
"""Between the numbers of two views that an example is seen in within an epoch; more than there are ever epochs."""


SECOND = 1 << 40
"""Between the numbers of the two views of an example that are compared in a batch; more than `AGAIN` times there are
ever draws of it."""


class Draw(NamedTuple):
    """The rows of one batch."""

    examples: Int[np.ndarray, "b"]
    views: Int[np.ndarray, "b"]


def num_batches(examples: int, size: int, least: int = 1) -> int:
    """How many batches of at most `size` the examples make; fewer where one would have less than `least` rows."""
    return max(1, min(math.ceil(examples / size), examples // least))


def epoch_draws(
    problem: Problem, size: int, epoch: int, least: int = 1, resample: float = 0.0, *, twins: bool = False
) -> list[Draw]:
    """All training examples once, or as `resampled` draws them, shuffled, in batches whose sizes differ by one at most.

    Of K stored views an example is seen in another one each epoch, in turn from a drawn start: in K epochs in each of
    them once, the plain one among them. Where views are made anew, it is one that no other epoch has. An example drawn
    again in an epoch is seen in the next view, or in one made anew for it. With `twins` every example is in its batch
    twice, in two views: first all in the one, then all in the other.
    """
    random = np.random.default_rng(derive_seed(problem.seed, "order", epoch))
    if resample:
        examples, again = resampled(problem.task.kinds(problem.targets), problem.train, resample, random)
    else:
        examples, again = random.permutation(problem.train), np.zeros(len(problem.train), dtype=np.int64)
    num_views = problem.states.num_views
    if num_views is None:
        views = epoch + 1 + again * AGAIN
        others = views + SECOND
    else:
        first = np.random.default_rng(derive_seed(problem.seed, "views")).integers(num_views, size=len(problem.targets))
        views = (first[examples] + epoch + again) % num_views
        others = (views + 1) % num_views
    if not twins:
        return _cut(examples, views, num_batches(len(examples), size, least))
    count = num_batches(len(examples), max(1, size // 2), least)
    pairs = zip(_cut(examples, views, count), _cut(examples, others, count), strict=True)
    return [Draw(*map(np.concatenate, zip(one, other, strict=True))) for one, other in pairs]


def plain_draws(examples: Int[np.ndarray, "n"], least: int = 1) -> list[Draw]:
    """These examples in this order in their plain view."""
    return _cut(examples, np.zeros_like(examples), num_batches(len(examples), ROWS, least))


def _cut(examples: Int[np.ndarray, "n"], views: Int[np.ndarray, "n"], count: int) -> list[Draw]:
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
    if isinstance(states, DeviceStates) and draw.views.all():
        return {name: _placed(tensor, device) for name, tensor in states.on_device(draw.examples, draw.views).items()}
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
