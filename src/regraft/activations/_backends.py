"""What runs the frozen part: from arrays to arrays, in batches of one fixed size.

Every batch has the same shape (the last one is padded), so that a row's values depend neither on its neighbours nor
on where a resumed run began. ONNX Runtime takes a few left-over rows one at a time where an exported prefix was seen
to give the same bits that way (measured on GoogLeNet, ResNet-18 and ViT-B/16: it does, whatever the number of threads
and whichever cuts share the pass); a batch of sixteen for one row would cost sixteen times as much. Torch takes all
rows one at a time where a row's place in the batch changes its bits (see `_place`); elsewhere that would be two to
five times as slow (GoogLeNet, ResNet-18).
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.activations._prefix import Prefix

Record = Mapping[str, np.ndarray]

BATCH = 16
"""Rows of a batch. Our choice: the gain of larger ones is within the noise on a CPU (8 to 32 tried)."""
ROWS_AXIS = "rows"
"""Name of the first axis in an exported prefix."""
FEW = 4
"""Up to so many left-over rows are cheaper one at a time than padded (measured: 1 row costs 1/16 to 1/6 of 16)."""


class Runner(ABC):
    """From prepared inputs (rows, ...) to the stored state at each cut, `{cut: {name: (rows, ...)}}`."""

    name: str
    """Backend and precision, as they enter the store's key."""
    shared: frozenset[str]
    """Names of the tensors that have no axis of rows."""
    few: int
    """Up to so many rows of a batch are run one at a time; 0: none are, `BATCH`: all are."""

    def __call__(self, inputs: Record) -> dict[str, dict[str, np.ndarray]]:
        """Run any number of rows, one at least."""
        rows = len(next(iter(inputs.values())))
        parts = []
        for first in range(0, rows, BATCH):
            taken = {name: array[first : first + BATCH] for name, array in inputs.items()}
            parts += self._batch(taken, min(BATCH, rows - first))
        flat = {
            key: parts[0][key] if key.rpartition("/")[2] in self.shared else np.concatenate([p[key] for p in parts])
            for key in parts[0]
        }
        cuts: dict[str, dict[str, np.ndarray]] = {}
        for key, array in flat.items():
            cut, _, name = key.rpartition("/")
            cuts.setdefault(cut, {})[name] = array
        return cuts

    def _batch(self, inputs: Record, rows: int) -> list[dict[str, np.ndarray]]:
        """One batch, `rows` of it asked for; names are `cut/name`."""
        if rows <= self.few:
            return [self._run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
        flat = self._run(padded(inputs, BATCH))
        return [{k: array if k.rpartition("/")[2] in self.shared else array[:rows] for k, array in flat.items()}]

    @abstractmethod
    def _run(self, inputs: Record) -> dict[str, np.ndarray]:
        """One batch of the fixed size, or one row."""


class TorchRunner(Runner):
    """The reference: torch, batch norm folded, in channels-last memory order, on any device, in true float32.

    Works on a copy, so that the backbone's own network stays as it is.
    """

    def __init__(
        self, prefix: "Prefix", examples: "tuple[Tensor, ...]", device: str, threads: int, *, alone: bool
    ) -> None:
        """`examples` are inputs of any number of rows, on which folding is checked; `alone` runs rows one at a time."""
        import torch

        from regraft.nn.folding import folded

        self.name, self.shared = torch_name(device, threads), prefix.network.shared
        self.few = BATCH if alone else 0
        self._device, self._threads = torch.device(device), threads
        plain = folded(prefix, lambda module: module(*examples))
        self._prefix = plain.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _run(self, inputs: Record) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode(), exact_torch(self._threads):
            # Copied, for where an array lies in memory would decide on the steps that are taken, and so on its bits.
            tensors = [torch.tensor(array, device=self._device) for array in inputs.values()]
            outputs = [tensor.cpu().contiguous().numpy() for tensor in self._prefix(*tensors)]
        return dict(zip(self._prefix.outputs, outputs, strict=True))


class OnnxRunner(Runner):
    """An exported prefix in ONNX Runtime, float32. Safe between threads."""

    def __init__(self, source: Path | bytes, *, shared: frozenset[str], threads: int, alone: bool) -> None:
        """`source` is the file or its content; `alone` says that a row by itself gives the same bits as in a batch."""
        self.name, self.shared = onnx_name(), shared
        self.few = FEW if alone else 0
        self._source, self._threads = source, threads
        self._sessions: dict[int, Any] = {}
        self._making = threading.Lock()

    def _run(self, inputs: Record) -> dict[str, np.ndarray]:
        return self.run(inputs)

    def run(self, inputs: Record) -> dict[str, np.ndarray]:
        """One row, or one batch of the fixed size; names are `cut/name`.

        Raises:
            onnxruntime's own errors (`onnx_faults`): the prefix is damaged, or has an operator that is not there.
        """
        session = self._session(len(next(iter(inputs.values()))))
        outputs = [output.name for output in session.get_outputs()]
        feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    def _session(self, rows: int) -> Any:
        """The session for batches of `rows`. A fixed shape makes its numbers independent of the export's free axis,
        and its memory is that of one batch."""
        import onnxruntime

        with self._making:
            if rows not in self._sessions:
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.add_free_dimension_override_by_name(ROWS_AXIS, rows)
                source = self._source if isinstance(self._source, bytes) else str(self._source)
                session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
                self._sessions[rows] = session
            return self._sessions[rows]


def padded(inputs: Record, size: int) -> dict[str, np.ndarray]:
    """The same rows, the last one repeated until there are `size`."""
    rows = len(next(iter(inputs.values())))
    if rows == size:
        return dict(inputs)
    return {name: np.concatenate([array, np.repeat(array[-1:], size - rows, axis=0)]) for name, array in inputs.items()}


def usable_cores() -> int:
    """CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def onnx_name() -> str:
    """Backend and precision of ONNX Runtime, as they enter the store's key. Its numbers do not depend on threads."""
    from importlib.metadata import version

    return f"onnxruntime-{version('onnxruntime')}-cpu-float32"


def torch_name(device: str, threads: int) -> str:
    """Backend and precision of torch; on the CPU its sums depend on the number of threads. Does not import it."""
    from importlib.metadata import version

    kind = device.partition(":")[0]
    place = f"cpu-{threads}-threads" if kind == "cpu" else kind
    return f"torch-{version('torch')}-{place}-float32"


def onnx_faults() -> tuple[type[Exception], ...]:
    """What onnxruntime raises on a model that it cannot load or run; it has no common base class of its own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*found, RuntimeError, ValueError)


@contextmanager
def exact_torch(threads: int) -> Iterator[None]:
    """While it lasts, torch has that many CPU threads, and an accelerator computes in float32 as the name says:
    no TensorFloat-32, no choice of algorithm by timing."""
    import torch

    before, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if threads != before:
        torch.set_num_threads(threads)
    if matmul != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        if threads != before:
            torch.set_num_threads(before)
        if matmul != "highest":
            torch.set_float32_matmul_precision(matmul)
