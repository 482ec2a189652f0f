"""The frozen stages of a backbone as functions of arrays: with ONNX Runtime if possible, else torch.

An exported prefix is compared with torch once and kept in the store; afterwards torch is not needed. If an export fails
or disagrees, torch is used for the whole backbone, with one notice, and the outcome is remembered.

Every batch has the same shape (the last one is padded), so that a row's values depend neither on its neighbours nor on
where a resumed run began. ONNX Runtime runs a few left-over rows one by one if that gives the same bits (measured:
GoogLeNet, ResNet-18, ViT-B/16). Torch runs all rows one by one if a row's place in the batch changes its bits (see
`export.what_matters`), which takes two to five times as long.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from regraft.activations.disk import Memo, StoreNotWritable, writing
from regraft.activations.slots import Slot, padded, stacked
from regraft.activations.states import Arrays
from regraft.backbones.backbone import Backbone
from regraft.files import atomic
from regraft.values import Json, Notice

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.activations.export import Prefix, Shapes

BATCH = 16
"""Batch size. Our choice: the gain of larger batches is within noise on a CPU (8 to 32 tried)."""
LENGTH_STEP = 8
"""Ragged rows are padded to a multiple of this. Our choice: on average, half of it is wasted."""
ROWS_AXIS = "rows"
"""Name of the first axis in an exported prefix."""
FEW = 4
"""Up to this many left-over rows are faster one by one than padded (measured: 1 row costs 1/16 to 1/6 of 16)."""
REVISION = 2
"""Version of the export method; raise it to invalidate exported prefixes."""


class Runner(ABC):
    """Maps prepared inputs (rows, ...) to the stored state at each cut, `{cut: {name: (rows, ...)}}`."""

    name: str
    """Backend and precision, as part of the store's key."""
    shared: frozenset[str]
    """Names of tensors without a row axis."""
    few: int
    """Up to this many rows of a batch are run one by one; 0: none, `BATCH`: all."""
    pads: bool = True
    """Whether smaller batches are padded, because the batch size affects the last bits."""

    def __call__(self, inputs: Arrays) -> dict[str, dict[str, np.ndarray]]:
        """Run any positive number of rows."""
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

    def _batch(self, inputs: Arrays, rows: int) -> list[dict[str, np.ndarray]]:
        """Run one batch and return its first `rows` rows; names are `cut/name`."""
        if rows <= self.few:
            return [self.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
        flat = self.run(padded(inputs, BATCH) if self.pads else inputs)
        return [{k: array if k.rpartition("/")[2] in self.shared else array[:rows] for k, array in flat.items()}]

    @abstractmethod
    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one batch of the fixed size, or one row."""


class TorchRunner(Runner):
    """The reference: torch with folded batch norm, in channels-last memory format and true float32, on any device.

    Works on a copy of the backbone's network.
    """

    def __init__(
        self, prefix: "Prefix", examples: "tuple[Tensor, ...]", device: str, threads: int, *, alone: bool
    ) -> None:
        """`examples` are inputs with any number of rows, to check the folding on; `alone`: run row by row."""
        import torch

        from regraft.nn.folding import folded

        self.name, self.shared = torch_name(device, threads), prefix.network.shared
        self.few = BATCH if alone else 0
        self._device, self._threads = torch.device(device), threads
        plain = folded(prefix, lambda module: module(*examples))
        self._prefix = plain.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        import torch

        from regraft.activations.export import exact_torch

        with torch.inference_mode(), exact_torch(self._threads):
            # Copied, for where an array lies in memory would decide on the steps that are taken, and so on its bits.
            tensors = [torch.tensor(array, device=self._device) for array in inputs.values()]
            outputs = [tensor.cpu().contiguous().numpy() for tensor in self._prefix(*tensors)]
        return dict(zip(self._prefix.outputs, outputs, strict=True))


class OnnxRunner(Runner):
    """Runs an exported prefix in ONNX Runtime, float32. Thread-safe."""

    def __init__(self, source: Path | bytes, *, shared: frozenset[str], threads: int, alone: bool) -> None:
        """`source` is the file or its content; `alone`: a single row gives the same bits as in a batch."""
        self.name, self.shared = onnx_name(), shared
        self.few = FEW if alone else 0
        self.source, self._threads = source, threads
        self._sessions: dict[int, Any] = {}
        self._making = threading.Lock()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one row, or one batch of the fixed size; names are `cut/name`.

        Raises:
            onnxruntime's own errors: the prefix is damaged, or has an unsupported operator.
        """
        session = self._session(len(next(iter(inputs.values()))))
        outputs = [output.name for output in session.get_outputs()]
        feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    def _session(self, rows: int) -> Any:
        """Return the session for batches of `rows`. With a fixed shape, results do not depend on the export's dynamic
        axis, and memory is that of one batch."""
        onnxruntime = onnx_runtime()
        with self._making:
            if rows not in self._sessions:
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4
                options.intra_op_num_threads = self._threads
                options.inter_op_num_threads = 1
                options.add_free_dimension_override_by_name(ROWS_AXIS, rows)
                source = self.source if isinstance(self.source, bytes) else str(self.source)
                plain = {
                    "providers": ["CPUExecutionProvider"],
                    "enable_fallback": 0,
                }  # a fallback tells its story on stdout
                self._sessions[rows] = onnxruntime.InferenceSession(source, options, **plain)
            return self._sessions[rows]


def onnx_runtime() -> Any:
    """Import the library with its telemetry off: it would write a device id to the user's cache folder and contact a
    server. Only an environment variable, set before the first import, prevents both."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def usable_cores() -> int:
    """Return the number of CPU cores available to this process."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def onnx_name() -> str:
    """Return backend and precision of ONNX Runtime as part of the store's key. Its results do not depend on threads."""
    return f"onnxruntime-{version('onnxruntime')}-cpu-float32"


def torch_name(device: str, threads: int) -> str:
    """Return backend and precision of torch; on the CPU its results depend on the number of threads. Does not import
    it."""
    kind = device.partition(":")[0]
    place = f"cpu-{threads}-threads" if kind == "cpu" else kind
    return f"torch-{version('torch')}-{place}-float32"


class Prefixes:
    """The frozen stages of one backbone for one input shape, exported when first run. Thread-safe."""

    def __init__(
        self,
        backbone: Backbone,
        shapes: "Shapes",
        *,
        view: str,
        memo: Memo,
        device: str = "cpu",
        backend: str = "auto",
        threads: int | None = None,
        keep: Mapping[str, Sequence[str]] = MappingProxyType({}),
        precision: str = "float32",
    ) -> None:
        """`keep` maps cuts to the taps to keep there (see `Network.run`). `backend` is `auto` (ONNX Runtime on the CPU
        if the export agrees, else torch) or `torch`. `threads` is the number of CPU threads; None or 0: all cores.
        `precision` is `bfloat16` if `openvino.precision_of` says so. `notices` collects notices for the caller to
        yield."""
        self.backbone, self.shapes, self.view, self.memo = backbone, dict(shapes), view, memo
        self.keep = {cut: sorted(taps) for cut, taps in keep.items() if taps}
        self._device, self.threads = device, threads or usable_cores()
        self.precision, self.notices = precision, list[Notice]()
        self.ragged = {name: shape.index(None) for name, (shape, _) in self.shapes.items() if None in shape}
        # A ragged prefix runs in torch: its export would have to be compared at every length.
        self._may_use_onnx = backend == "auto" and device == "cpu" and not self.ragged
        self._decision: str | None = None
        self._runners: dict[tuple[str, ...], Runner] = {}
        self._matters: tuple[bool, bool] | None = None
        self._making = threading.RLock()

    def backend_name(self, cuts: Sequence[str] = ("output",)) -> str:
        """Return backend and precision; export `cuts` first if the outcome is not known for this backbone."""
        if not self._may_use_onnx:
            return torch_name(self._device, self.threads)
        if self._decided() is None:
            self.runner(cuts)
        if self._decided() != "onnx":
            return torch_name(self._device, self.threads)
        return self.runner(cuts).name if self.precision == "bfloat16" else onnx_name()

    def runner(self, cuts: Sequence[str]) -> Runner:
        """Return the runner that ends at `cuts`, given in the order of the stages."""
        wanted = tuple(cuts)
        with self._making:
            if wanted not in self._runners:
                made = self._onnx(wanted) if self._may_use_onnx and self._decided() != "torch" else None
                if isinstance(made, OnnxRunner) and self.precision == "bfloat16":
                    from regraft.activations.openvino import OpenVinoRunner

                    made = OpenVinoRunner(made.source, shared=made.shared, threads=self.threads)
                self._runners[wanted] = made or self._torch(wanted)
            return self._runners[wanted]

    def states(
        self, cuts: Sequence[str], records: Sequence[Arrays]
    ) -> tuple[dict[str, dict[str, np.ndarray]], Int64[np.ndarray, " b"] | None]:
        """Return the states of prepared inputs at `cuts`, and the rows' lengths (None if all have one shape).

        Ragged rows are batched with rows of similar length, padded to a multiple of `LENGTH_STEP`, so that a row's
        values do not depend on the others. The states are zero-padded.
        """
        computed = tuple(cut for cut in cuts if cut != "input")

        def run(inputs: Arrays) -> dict[str, dict[str, np.ndarray]]:
            at_input = {"input": dict(inputs)} if "input" in cuts else {}
            return at_input | (self.runner(computed)(inputs) if computed else {})

        if not self.ragged:
            return run(stacked(records)), None
        lengths = np.array([self._length(record) for record in records], dtype=np.int64)
        widths = np.maximum(1, -(-lengths // LENGTH_STEP)) * LENGTH_STEP
        groups = []
        for width in np.unique(widths).tolist():
            rows = np.flatnonzero(widths == width)
            groups.append((rows, run(self._padded([records[i] for i in rows.tolist()], width))))
        return {cut: self._merged(cut, groups, lengths) for cut in cuts}, lengths

    def _length(self, record: Arrays) -> int:
        found = {record[name].shape[axis] for name, axis in self.ragged.items()}
        if len(found) > 1:
            raise ValueError(
                f"The ragged arrays of an input have the lengths {sorted(found)}; they must all have the same length."
            )
        return int(found.pop())

    def _padded(self, records: Sequence[Arrays], width: int) -> dict[str, np.ndarray]:
        inputs = stacked(records)
        for name, axis in self.ragged.items():
            more = [(0, 0)] * inputs[name].ndim
            more[axis + 1] = (0, width - inputs[name].shape[axis + 1])
            inputs[name] = np.pad(inputs[name], more)
        return inputs

    def _merged(
        self, cut: str, groups: Sequence[tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]], lengths: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return one padded state from groups of rows that were run at different widths."""
        made, longest = {}, int(lengths.max())
        for slot in self.slots(cut):
            if slot.shared:
                made[slot.name] = groups[0][1][cut][slot.name]
                continue
            shape = [longest if size is None else size for size in slot.shape]
            made[slot.name] = np.zeros((len(lengths), *shape), slot.dtype)
            for rows, found in groups:
                for row, array in zip(rows.tolist(), found[cut][slot.name], strict=True):
                    part = tuple(slice(int(lengths[row])) if size is None else slice(None) for size in slot.shape)
                    made[slot.name][row][part] = array[part]
        return made

    def slots(self, cut: str) -> list[Slot]:
        """Return the slots of a stored row at `cut`; remembered, so that torch is needed only once."""
        if cut == "input":
            return [Slot(name=name, shape=shape, dtype=dtype) for name, (shape, dtype) in self.shapes.items()]
        key = ["slots", *self.facts((cut,))]
        if (known := _as_slots(self.memo.get(key))) is not None:
            return known
        from regraft.activations.export import slots_at

        slots = slots_at(self.backbone, cut, inputs=self.shapes, view=self.view, keep=self.keep)
        self._remember(key, [slot.describe() for slot in slots])
        return slots

    def _decided(self) -> str | None:
        """Return `onnx` or `torch` according to earlier exports of this backbone; None if there are none."""
        if self._decision is None:
            known = self.memo.get(["backend", *self.facts(("output",)), onnx_name()])
            self._decision = known if known in ("onnx", "torch") else None
        return self._decision

    def _decide(self, backend: str) -> None:
        self._decision = backend
        self._remember(["backend", *self.facts(("output",)), onnx_name()], backend)

    def facts(self, cuts: tuple[str, ...]) -> list[Any]:
        """Return everything that an exported prefix depends on."""
        inputs = {name: [list(shape), dtype] for name, (shape, dtype) in self.shapes.items()}
        digests = [self.backbone.digest(cut) for cut in cuts]
        taps = {cut: self.keep[cut] for cut in cuts if cut in self.keep}
        return ["prefix", REVISION, digests, list(cuts), self.view, inputs, BATCH, *([taps] if taps else [])]

    def _prefix(self, cuts: tuple[str, ...]) -> "Prefix":
        from regraft.activations.export import Prefix

        return Prefix(self.backbone.network, cuts, view=self.view, inputs=tuple(self.shapes), keep=self.keep).eval()

    def _torch(self, cuts: tuple[str, ...]) -> Runner:
        from regraft.activations.export import example_tensors, what_matters

        if self._matters is None:
            self._matters = what_matters(self.backbone, self.shapes, device=self._device, threads=self.threads)
        (place, count), examples = self._matters, example_tensors(self.shapes, 2)
        # Rows of one shape come in full batches but for the last; ragged ones in groups of any number.
        runner = TorchRunner(self._prefix(cuts), examples, self._device, self.threads, alone=place)
        runner.pads = count or not self.ragged
        return runner

    def _onnx(self, cuts: tuple[str, ...]) -> Runner | None:
        """Return None if ONNX Runtime cannot be used, which is reported and cached."""
        facts = self.facts(cuts)
        kept = self._kept(facts)
        if kept is not None:
            return kept
        from regraft.activations.export import Refused, exported

        prefix = self._prefix(cuts)
        try:
            data, alone = exported(prefix, self.shapes, self.threads)
        except Refused as reason:
            self._decide("torch")
            self._runners.clear()
            text = f"torch is used below the cut instead of ONNX Runtime: {reason}"
            self.notices.append(Notice(text=text, topic="backend"))
            return None
        shared = prefix.network.shared
        path = self.memo.file(facts, ".onnx")
        with suppress(StoreNotWritable), writing(path), atomic(path) as file:
            file.write(data)
        self._remember(["exported", *facts], {"shared": sorted(shared), "alone": alone, "bytes": len(data)})
        self._decide("onnx")
        source = path if path.is_file() else data
        return OnnxRunner(source, shared=shared, threads=self.threads, alone=alone)

    def _kept(self, facts: list[Any]) -> Runner | None:
        """Return the exported prefix, if there is a complete one."""
        path, known = self.memo.file(facts, ".onnx"), self.memo.get(["exported", *facts])
        if not isinstance(known, dict) or not path.is_file() or path.stat().st_size != known.get("bytes"):
            return None
        if self._decided() is None:
            self._decide("onnx")
        shared, alone = frozenset(map(str, known["shared"])), bool(known["alone"])
        return OnnxRunner(path, shared=shared, threads=self.threads, alone=alone)

    def _remember(self, key: Json, value: Json) -> None:
        """Cache a fact, if the store is writable."""
        with suppress(StoreNotWritable):
            self.memo.put(key, value)


def _as_slots(known: Json) -> list[Slot] | None:
    """Return the cached slots; None if there are none, or they are damaged."""
    if not isinstance(known, list):
        return None
    try:
        return [Slot(**{**one, "shape": tuple(one["shape"])}) for one in known]
    except (TypeError, KeyError, ValueError):
        return None
