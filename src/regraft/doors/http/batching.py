"""Dynamic batching: inputs of many requests are prepared in threads and predicted together.

An input's prediction does not depend on the other inputs of its batch (see `Bundle.predict_prepared`), so that batching
affects only the timing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from regraft.activations.runner import BATCH, FEW
from regraft.bundles.bundle import Bundle, withheld
from regraft.contracts.example import Contents
from regraft.contracts.modality import Placement, Record
from regraft.doors.http.settings import Refusal, Settings
from regraft.errors import BadData
from regraft.values import Prediction

Pieces = list[tuple[Record, Placement]]


@dataclass(frozen=True)
class Input:
    """One input of a request."""

    id: str
    """Id given by the client, or the input's position."""
    value: Any
    """Argument of `Bundle.prepare`: bytes, an array, contents, or a text if the modality reads texts."""


@dataclass(frozen=True)
class _Waiting:
    pieces: Pieces
    since: float
    said: "asyncio.Future[Prediction]"


class Served:
    """A model and its queue. Everything except the prediction itself runs on one event loop."""

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        settings: Settings,
        *,
        decoding: Executor,
        predicting: Executor,
        seen: Callable[[int], object],
    ) -> None:
        """`decoding` prepares inputs; `predicting` has one thread, shared by all models of a worker; `seen` is called
        with the size of every batch."""
        self.name, self.bundle = name, bundle
        self.pending = 0
        """Number of inputs accepted and not yet predicted."""
        self._settings, self._decoding, self._predicting, self._seen = settings, decoding, predicting, seen
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._row_s, self._full_from = self._measured()

    @property
    def digest(self) -> str:
        """Digest of the model's metadata, which contains the digests of its tensors."""
        return str(self.bundle.facts["digest"])

    @cached_property
    def example(self) -> Contents:
        """The smallest of the golden inputs, which are generated from a seed and never a user's own."""
        golden = self.bundle.modality.golden(0, self.bundle.card.preparation)
        return min(golden, key=lambda contents: sum(len(str(one)) + _size(one) for one in contents.values()))

    def _measured(self) -> tuple[float, int]:
        """Return the seconds for one input, and the number of inputs from which a full batch is faster than single
        ones."""
        row = self.bundle.prepare_pieces(self.example)

        def seconds(rows: int) -> float:
            self.bundle.predict_prepared([row] * rows)
            began = time.perf_counter()
            self.bundle.predict_prepared([row] * rows)
            return time.perf_counter() - began

        alone, together = seconds(1), seconds(BATCH)
        return alone, max(1, min(BATCH, round(together / alone)))

    def check_room(self, inputs: int = 1) -> None:
        """Raises: Refusal: the queue has no room for this many more inputs."""
        if self.pending + inputs > self._settings.queue:
            raise Refusal(
                503, f"The queue of {self.name} is full.", fix="try again after the number of seconds in Retry-After.",
                retry_s=self.pending * self._row_s,
            )  # fmt: skip

    async def predict(
        self, inputs: Sequence[Input], abstain: float | None, prepared: Callable[[], None]
    ) -> list[Prediction]:
        """Return the predictions for the inputs, in their order; unreadable ones have `error` set. `prepared` is called
        when the inputs themselves are no longer needed.

        Raises:
            Refusal: the queue has no room for them.
            BadRequest: the model has no OOD score, which `abstain` requires.
        """
        self.bundle.check_abstain(abstain)
        self.check_room(len(inputs))
        self.pending += len(inputs)
        try:
            loop = asyncio.get_running_loop()
            work = [loop.run_in_executor(self._decoding, self._try, one.value) for one in inputs]
            made, now = await asyncio.gather(*work), loop.time()
            prepared()
            waiting = [None if isinstance(one, str) else _Waiting(one, now, loop.create_future()) for one in made]
            self._queue += filter(None, waiting)
            self._arrived.set()
            said = []
            for one, place, pieces in zip(inputs, waiting, made, strict=True):
                if place is None:
                    said.append(Prediction(id=one.id, label=None, probabilities={}, error=str(pieces)))
                else:
                    said.append(replace(withheld(await place.said, abstain), id=one.id))
            return said
        finally:
            self.pending -= len(inputs)

    async def run(self) -> None:
        """Predict queued inputs until the server stops."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next()
            try:
                work = [one.pieces for one in batch]
                said = await loop.run_in_executor(self._predicting, self.bundle.predict_prepared, work)
                for one, prediction in zip(batch, said, strict=True):
                    if not one.said.done():
                        one.said.set_result(prediction)
            except Exception as error:  # noqa: BLE001 - reported to the waiting requests; others continue
                for one in batch:
                    if not one.said.done():
                        one.said.set_exception(error)

    async def _next(self) -> list[_Waiting]:
        """Return the inputs to predict next: a full batch, or fewer once the first has waited long enough."""
        most = min(self._settings.batch, BATCH)
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        try:
            async with asyncio.timeout_at(self._queue[0].since + self._settings.wait_s):
                while len(self._queue) < most:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        # A few inputs are faster one by one than padded to a full batch, and others may arrive meanwhile.
        take = min(most, len(self._queue), BATCH if len(self._queue) >= self._full_from else FEW)
        batch = [self._queue.popleft() for _ in range(take)]
        self._seen(len(batch))
        return batch

    def _try(self, value: Any) -> Pieces | str:
        try:
            return self.bundle.prepare_pieces(value)
        except BadData as error:
            return error.message


def _size(content: Any) -> int:
    value = getattr(content, "value", b"")
    return len(value) if isinstance(value, str | bytes) else 0
