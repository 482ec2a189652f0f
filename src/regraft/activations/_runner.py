"""The frozen parts of one backbone as functions of arrays: ONNX Runtime where it can, else torch.

An exported prefix is compared with torch once and kept in the store under the digest of all it depends on; afterwards
torch is not needed. An export that fails or disagrees means torch for the whole backbone, one notice, and a note in
the store's memory, so that the key of stored rows always names what computed them.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from regraft.activations._backends import (
    BATCH,
    OnnxRunner,
    Record,
    Runner,
    TorchRunner,
    onnx_name,
    torch_name,
    usable_cores,
)  # fmt: skip
from regraft.activations._disk import StoreNotWritable, writing
from regraft.activations.memo import Memo
from regraft.activations.slots import Slot
from regraft.backbones.backbone import Backbone
from regraft.files import atomic
from regraft.values import Json, Notice

if TYPE_CHECKING:
    from regraft.activations._prefix import Prefix, Shapes

__all__ = ["BATCH", "Prefixes", "Record", "Runner"]

REVISION = 2
"""Raised when the way of exporting changes, so that prefixes are exported anew."""


class Prefixes:
    """The frozen parts of one backbone for one shape of input, made when they are first run. Safe between threads."""

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
        tell: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        """`backend` is `auto` (ONNX Runtime on the CPU where the export agrees, else torch) or `torch`; `threads` of
        the CPU: None or 0 for all cores; `tell` takes what the user should know."""
        self.backbone, self.shapes, self.view, self.memo = backbone, dict(shapes), view, memo
        self._device, self._threads, self._tell = device, threads or usable_cores(), tell
        self._may_use_onnx = backend == "auto" and device == "cpu"
        self._decision: str | None = None
        self._runners: dict[tuple[str, ...], Runner] = {}
        self._torch_alone: bool | None = None
        self._making = threading.RLock()

    def backend_name(self, cuts: Sequence[str] = ("output",)) -> str:
        """Backend and precision; `cuts` are exported first where nothing is known of this backbone yet."""
        if not self._may_use_onnx:
            return torch_name(self._device, self._threads)
        if self._decided() is None:
            self.runner(cuts)
        return onnx_name() if self._decided() == "onnx" else torch_name(self._device, self._threads)

    def runner(self, cuts: Sequence[str]) -> Runner:
        """The function that ends at `cuts`, which are in the order of the stages."""
        wanted = tuple(cuts)
        with self._making:
            if wanted not in self._runners:
                made = self._onnx(wanted) if self._may_use_onnx and self._decided() != "torch" else None
                self._runners[wanted] = made or self._torch(wanted)
            return self._runners[wanted]

    def slots(self, cut: str) -> list[Slot]:
        """What a row of the stored state at `cut` is made of; remembered, so that torch is needed
        once."""
        if cut == "input":
            return [Slot(name=name, shape=shape, dtype=dtype) for name, (shape, dtype) in self.shapes.items()]
        key = ["slots", *self._facts((cut,))]
        if (known := _as_slots(self.memo.get(key))) is not None:
            return known
        from regraft.activations._prefix import slots_at

        slots = slots_at(self.backbone, cut, inputs=self.shapes, view=self.view)
        self._remember(key, [slot.describe() for slot in slots])
        return slots

    def _decided(self) -> str | None:
        """`onnx` or `torch`, as earlier exports of this backbone have shown; None before any."""
        if self._decision is None:
            known = self.memo.get(["backend", *self._facts(("output",)), onnx_name()])
            self._decision = known if known in ("onnx", "torch") else None
        return self._decision

    def _decide(self, backend: str) -> None:
        self._decision = backend
        self._remember(["backend", *self._facts(("output",)), onnx_name()], backend)

    def _facts(self, cuts: tuple[str, ...]) -> list[Any]:
        """Everything that an exported prefix depends on."""
        inputs = {name: [list(shape), dtype] for name, (shape, dtype) in self.shapes.items()}
        digests = [self.backbone.digest(cut) for cut in cuts]
        return ["prefix", REVISION, digests, list(cuts), self.view, inputs, BATCH]

    def _prefix(self, cuts: tuple[str, ...]) -> "Prefix":
        from regraft.activations._prefix import Prefix

        return Prefix(self.backbone.network, cuts, view=self.view, inputs=tuple(self.shapes)).eval()

    def _torch(self, cuts: tuple[str, ...]) -> Runner:
        from regraft.activations._place import place_matters
        from regraft.activations._prefix import example_tensors

        if self._torch_alone is None:
            self._torch_alone = place_matters(self.backbone, self.shapes, device=self._device, threads=self._threads)
        examples = example_tensors(self.shapes, 2)
        return TorchRunner(self._prefix(cuts), examples, self._device, self._threads, alone=self._torch_alone)

    def _onnx(self, cuts: tuple[str, ...]) -> Runner | None:
        """None where ONNX Runtime cannot be used; said and remembered."""
        facts = self._facts(cuts)
        kept = self._kept(facts)
        if kept is not None:
            return kept
        from regraft.activations._export import Refused, exported

        prefix = self._prefix(cuts)
        try:
            data, alone = exported(prefix, self.shapes, self._threads)
        except Refused as reason:
            self._decide("torch")
            self._runners.clear()
            self._tell(Notice(text=f"ONNX Runtime is not used below the cut, torch is: {reason}", topic="backend"))
            return None
        shared = prefix.network.shared
        path = self.memo.file(facts, ".onnx")
        with suppress(StoreNotWritable), writing(path), atomic(path) as file:
            file.write(data)
        self._remember(["exported", *facts], {"shared": sorted(shared), "alone": alone, "bytes": len(data)})
        self._decide("onnx")
        source = path if path.is_file() else data
        return OnnxRunner(source, shared=shared, threads=self._threads, alone=alone)

    def _kept(self, facts: list[Any]) -> Runner | None:
        """The prefix that was exported before; one that was cut short is as good as none."""
        path, known = self.memo.file(facts, ".onnx"), self.memo.get(["exported", *facts])
        if not isinstance(known, dict) or not path.is_file() or path.stat().st_size != known.get("bytes"):
            return None
        if self._decided() is None:
            self._decide("onnx")
        shared, alone = frozenset(map(str, known["shared"])), bool(known["alone"])
        return OnnxRunner(path, shared=shared, threads=self._threads, alone=alone)

    def _remember(self, key: Json, value: Json) -> None:
        """Keep a fact, where the store may be written."""
        with suppress(StoreNotWritable):
            self.memo.put(key, value)


def _as_slots(known: Json) -> list[Slot] | None:
    """The slots that were remembered; None when they were not, or are damaged."""
    if not isinstance(known, list):
        return None
    try:
        return [Slot(**{**one, "shape": tuple(one["shape"])}) for one in known]
    except (TypeError, KeyError, ValueError):
        return None
