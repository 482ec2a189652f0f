"""Machine resources of a run: torch device, CPU threads, seconds by phase, memory.

Torch is not imported if there cannot be an accelerator.
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
    """Return the named device; `auto` is CUDA if it works, else the CPU.

    Apple's `mps` is used only on request (our choice: it is not faster for small tails).

    Raises:
        BadRequest: the device does not work here.
    """
    if wanted == "cpu" or (wanted == "auto" and not shutil.which("nvidia-smi")):
        return "cpu"
    import torch

    works = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return "cuda" if works["cuda"] else "cpu"
    if not works.get(wanted.partition(":")[0]):
        here = ["cpu", *(name for name, there in works.items() if there)]
        raise BadRequest(
            f"The device {wanted!r} is not available on this machine.", fix=f"choose one of: auto, {', '.join(here)}."
        )
    return wanted


def clock_of(device: str) -> Callable[[], float]:
    """Return the clock to time work with: CPU seconds, or wall-clock seconds if an accelerator does it."""
    return time.process_time if device == "cpu" else time.perf_counter


def num_threads(wanted: int) -> int:
    """Return the number of CPU threads: `wanted`, or all available cores if it is 0."""
    return wanted if wanted > 0 else usable_cores()


@dataclass
class Phases:
    """Wall-clock and CPU seconds of each phase of a run, in order of their first start."""

    log: Callable[[Event], None]
    """Called with every event before it is passed on."""
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """CPU seconds of all threads of this process."""

    def run(self, name: str, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        """Run the generator `work`: log its events, pass them on, add its time to phase `name` (unless empty), and
        return its result.

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
    """Return the peak resident memory of this process; None if unknown.

    Does not use `getrusage` on Linux, whose value includes the peak of the parent process.
    """
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
