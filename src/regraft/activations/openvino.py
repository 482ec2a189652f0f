"""Frozen stages in bfloat16: OpenVINO runs the exported prefix on processors that support it.

Does not use OpenVINO's converter, and blocks its telemetry. bfloat16 is used for training only: what a report
evaluates, and what a bundle predicts, is computed in float32.

Measured on one thread of an AMD EPYC with AVX512-BF16, batches of 16: GoogLeNet (128 x 128) 1.9 times and
EfficientNet-Lite2 (260 x 260) 2.1 times as fast as ONNX Runtime in float32.
"""

import platform
import sys
import threading
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from regraft.activations.disk import StoreNotWritable
from regraft.activations.runner import BATCH, OnnxRunner, Prefixes, Runner
from regraft.activations.states import Arrays
from regraft.errors import MissingExtra, out_of_memory

LIMIT = 0.05
"""Maximum error of bfloat16 states, relative to their Euclidean norm. Our choice: GoogLeNet's are below 0.01,
EfficientNet-Lite2's 0.03."""
FASTER = 1.15
"""Minimum speedup over float32 for `auto` to choose bfloat16."""
ROUNDS = 5
"""Number of alternating timing rounds."""
UNITS = {
    "amx_bf16": "AMX-BF16",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
}
"""Low-precision instruction sets, by Linux's names."""


def processor() -> tuple[str, list[str]]:
    """Return the processor's name, and which of `UNITS` it has (on Linux only)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    flags = facts.get("flags", "").split()
    return facts.get("model name", platform.machine()), [name for flag, name in UNITS.items() if flag in flags]


def has_bfloat16() -> bool:
    """Return whether the processor supports bfloat16; otherwise it is slower than float32."""
    return any(name.endswith("BF16") for name in processor()[1])


def openvino_name(threads: int) -> str:
    """Return backend and precision as part of the store's key.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    try:
        return f"openvino-{version('openvino')}-cpu-{threads}-threads-bfloat16"
    except PackageNotFoundError as error:
        raise MissingExtra("openvino", "openvino", "precision = bfloat16") from error


class OpenVinoRunner(Runner):
    """Runs an exported prefix in OpenVINO in bfloat16. Every batch is padded; one thread at a time."""

    few = 0

    def __init__(self, source: Path | bytes, *, shared: frozenset[str], threads: int) -> None:
        """`source` is the ONNX file or its content."""
        self.name, self.shared = openvino_name(threads), shared
        self._source, self._threads, self._request = source, threads, None
        self._running = threading.Lock()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run one batch of the fixed size; names are `cut/name`."""
        feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        with self._running:
            request = self._request = self._request or self._compiled(feeds)
            found = request.infer(feeds)
            return {output.get_any_name(): np.array(array) for output, array in found.items()}

    def _compiled(self, feeds: Arrays) -> Any:
        core = library().Core()
        model = core.read_model(self._source if isinstance(self._source, bytes) else str(self._source))
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
        options = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        return core.compile_model(model, "CPU", options).create_infer_request()


def precision_of(prefixes: Prefixes, cuts: tuple[str, ...], wanted: str) -> tuple[Literal["float32", "bfloat16"], str]:
    """Return `bfloat16` or `float32` for rows that are only trained on, and a sentence with the reason.

    `wanted` is `bfloat16`, which is used if it agrees, or `auto`, which also requires a speedup of `FASTER`; both
    runners are timed once per processor, prefix and number of threads.

    Raises:
        MissingExtra: `bfloat16` is requested and supported, but OpenVINO is not installed.
    """
    if not has_bfloat16():
        return "float32", f"The frozen part runs in float32: {processor()[0]} has no bfloat16 instructions."
    try:
        name = openvino_name(prefixes.threads)
    except MissingExtra as missing:
        if wanted == "bfloat16":
            raise
        return "float32", f"The frozen part runs in float32; to try bfloat16: {missing.fix}."
    plain = prefixes.runner(cuts)
    if not isinstance(plain, OnnxRunner) or plain.shared:
        return "float32", "The frozen part runs in float32: OpenVINO requires an export that ONNX Runtime can run."
    key = ["bfloat16", *prefixes.facts(cuts), name, processor()[0]]
    known = prefixes.memo.get(key)
    if not isinstance(known, dict):
        known = _compared(plain, prefixes)
        with suppress(StoreNotWritable):
            prefixes.memo.put(key, known)
    error, times = known["error"], known["times"]
    if error is None:
        return "float32", f"The frozen part runs in float32: OpenVINO cannot run it ({known['said']})."
    told = f"bfloat16 is {times:.2f} times as fast, with an error of {error:.1%}"
    if not error <= LIMIT or (wanted == "auto" and times <= FASTER):
        limits = f"the limits are an error of {LIMIT:.0%} and, for auto, a speed-up of more than {FASTER} times"
        return "float32", f"The frozen part runs in float32: {told}; {limits}."
    return "bfloat16", f"Activations used only for training are computed in bfloat16 below the cut: {told}."


def _compared(plain: OnnxRunner, prefixes: Prefixes) -> dict[str, Any]:
    """Return the error on noise, and the speed-up over `plain`, the median of interleaved rounds."""
    from regraft.activations.export import example_tensors

    examples = zip(prefixes.shapes, example_tensors(prefixes.shapes, BATCH), strict=True)
    inputs = {name: tensor.numpy() for name, tensor in examples}
    reduced = OpenVinoRunner(plain.source, shared=plain.shared, threads=prefixes.threads)
    try:
        found, expected = reduced.run(inputs), plain.run(inputs)
    except Exception as error:  # OpenVINO's errors have no common base class
        if out_of_memory(error):
            raise
        return {"error": None, "times": 0.0, "said": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    errors = [np.linalg.norm(found[name] - array) / (np.linalg.norm(array) or 1.0) for name, array in expected.items()]
    ratios = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        plain.run(inputs)
        between = time.perf_counter()
        reduced.run(inputs)
        ratios.append((between - began) / (time.perf_counter() - between))
    return {"error": float(np.max(errors)), "times": median(ratios), "said": ""}


def library() -> Any:
    """Import OpenVINO, with its telemetry blocked."""
    blocked = "openvino_telemetry"
    before = sys.modules.get(blocked)
    sys.modules[blocked] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if before is None:
            del sys.modules[blocked]
        else:
            sys.modules[blocked] = before
    return openvino
