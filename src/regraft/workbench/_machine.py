"""What a run takes of the machine: where torch works, CPU threads, seconds by phase, memory.

Torch is not imported where there can be no accelerator.
"""

import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from regraft.activations.runner import usable_cores
from regraft.errors import BadRequest
from regraft.values import Event

T = TypeVar("T")


def choose_device(wanted: str) -> str:
    """The device of that name; `auto` is CUDA where it works, else the CPU.

    Apple's `mps` is used only when asked for (our choice: small tails are no faster there).

    Raises:
        BadRequest: the device asked for does not work here.
    """
    if wanted == "cpu" or (wanted == "auto" and not shutil.which("nvidia-smi")):
        return "cpu"
    import torch

    works = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if works["cuda"] else "cpu"
    if not works.get(wanted.partition(":")[0]):
        here = ["cpu", *(name for name, there in works.items() if there)]
        raise BadRequest(f"The device {wanted!r} does not work here.", fix=f"choose one of: auto, {', '.join(here)}.")
    return wanted


def clock_of(device: str) -> Callable[[], float]:
    """What tells the seconds that work takes: those of the CPU, or on the wall where an accelerator does it."""
    return time.process_time if device == "cpu" else time.perf_counter


def num_threads(wanted: int) -> int:
    """CPU threads to use: those asked for, else the cores this process may use."""
    return wanted if wanted > 0 else usable_cores()


@dataclass
class Phases:
    """Wall and CPU seconds of each phase, in the order they first began."""

    log: Callable[[Event], None]
    """Takes every event, before it is passed on."""
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Of all threads of this process, whatever else the machine does."""

    def run(self, name: str, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        """Drive `work`, logging its events, passing them on and adding its time to `name`, unless that is empty;
        returns what it returns.

        Time that the consumer spends between events is not counted.
        """
        try:
            while True:
                with self.measure(name) if name else nullcontext():
                    event = next(work)
                self.log(event)
                yield event
        except StopIteration as stop:
            return stop.value
        finally:
            work.close()

    @contextmanager
    def measure(self, name: str) -> Generator[None, None, None]:
        """Add the time inside the `with` to `name`."""
        began, worked = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + time.process_time() - worked


def peak_memory_bytes() -> int | None:
    """Largest resident size of this process so far; None where the system does not say.

    On Linux not from `getrusage`: what that gives begins with the peak of the process that started this one.
    """
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
