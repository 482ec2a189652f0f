"""The frozen part of a network as a torch function, and its export to ONNX, which is compared with torch before use.

The only module of the store that imports torch at the top. Letters: b rows of a batch.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import jaxtyping
import numpy as np
import torch
from torch import Tensor, nn

from regraft.activations.runner import BATCH, ROWS_AXIS, OnnxRunner, TorchRunner
from regraft.activations.slots import OVERFLOW, Slot, as_half, overflows
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import TAP, Network, State
from regraft.contracts.family import built
from regraft.errors import out_of_memory

Shapes = Mapping[str, tuple[tuple[int | None, ...], str]]
"""Shape of a row and dtype of each input, by name; None at a ragged axis."""
LENGTHS = (8, 12)
"""Lengths of ragged axes to try a network with; an axis of its output that differs between them is ragged."""
TOLERANCE = 1e-4
"""Maximum difference between export and torch, relative to the largest value of a tensor; typical is 2e-6."""

FEWER = (1, 5)
"""Batch sizes to test besides the full one."""
TRACED = 2
"""Rows for tracing and comparison; a single one might be taken for a broadcast axis."""


class Prefix(nn.Module):
    """Maps the stored state at cut `after` to the stored states at `cuts`, in one pass.

    At `output` the state is the readout that the head reads, under its name. `keep` maps cuts to the taps to keep
    there. Takes and returns tensors in a fixed order, as exporters require: `inputs` names the arguments, `outputs`
    (known after the first call) the results, as `cut/name`.
    """

    def __init__(
        self,
        network: Network,
        cuts: Sequence[str],
        *,
        view: str,
        inputs: Sequence[str],
        after: str = "input",
        keep: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.network = network
        self.parts = nn.ModuleList(network.modules())
        self.cuts = tuple(cuts)
        self.view = view
        self.inputs = tuple(inputs)
        self.after = after
        self.keep = {cut: frozenset(TAP + name for name in keep.get(cut, ())) for cut in cuts}
        self.outputs: tuple[str, ...] = ()
        self.selects: frozenset[str] = frozenset()  # outputs that have no row for each input, and may jump

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        states = self.states(dict(zip(self.inputs, tensors, strict=True)))
        flat = {f"{cut}/{name}": value for cut, state in states.items() for name, value in state.items()}
        self.outputs = tuple(flat)
        return tuple(flat.values())

    def states(self, state: State) -> dict[str, State]:
        """Return the stored state at each cut."""
        found: dict[str, State] = {}
        at = self.after
        for i, cut in enumerate(self.cuts):
            later = {name.removeprefix(TAP) for above in self.cuts[i:] for name in self.keep[above]}
            state, at = self.network.run(state, after=at, upto=cut, keep=sorted(later)), cut
            plain = {name: value for name, value in state.items() if not name.startswith(TAP)}
            taps = {name: value for name, value in state.items() if name in self.keep[cut]}
            found[cut] = (plain if cut != "output" else {self.view: self.network.readouts(plain)[self.view]}) | taps
        return found


def example_tensors(inputs: Shapes, batch: int, length: int = LENGTHS[0]) -> tuple[Tensor, ...]:
    """Return seeded example tensors: noise for bytes and floats, ones for masks and token ids."""
    made = []
    generator = torch.Generator().manual_seed(0)
    for sizes, dtype in inputs.values():
        shape, kind = [length if size is None else size for size in sizes], getattr(torch, dtype)
        if kind is torch.uint8:
            made.append(torch.randint(0, 256, (batch, *shape), generator=generator, dtype=kind))
        elif kind.is_floating_point:
            made.append(torch.rand((batch, *shape), generator=generator, dtype=kind))
        else:
            made.append(torch.ones((batch, *shape), dtype=kind))
    return tuple(made)


def slots_at(
    backbone: Backbone, cut: str, *, inputs: Shapes, view: str, keep: Mapping[str, Sequence[str]]
) -> list[Slot]:
    """Determine the slots of a stored row at `cut` by running the network on an example."""
    network = backbone.network
    prefix = Prefix(network, (cut,), view=view, inputs=tuple(inputs), keep=keep).eval()
    lengths = LENGTHS if any(None in shape for shape, _ in inputs.values()) else LENGTHS[:1]
    with torch.no_grad():
        first, *other = (prefix(*example_tensors(inputs, 2, length)) for length in lengths)
    slots = []
    for i, output in enumerate(prefix.outputs):
        name, shape = output.removeprefix(f"{cut}/"), tuple(first[i].shape)
        shared = name in network.shared
        differs = [any(tensors[i].shape[axis] != size for tensors in other) for axis, size in enumerate(shape)]
        sizes = tuple(None if ragged else size for size, ragged in zip(shape, differs, strict=True))
        dtype = str(first[i].dtype).removeprefix("torch.")
        slots.append(Slot(name=name, shape=sizes if shared else sizes[1:], dtype=dtype, shared=shared))
    return slots


def what_matters(backbone: Backbone, shapes: Shapes, *, device: str, threads: int) -> tuple[bool, bool]:
    """Return whether torch's results for a row depend, in the last bits, on its place in the batch; and whether they
    depend on the batch size.

    The former was seen in batched products of small matrices (attention on 9 tokens with 8 features), where MKL on an
    AMD processor adapts to memory alignment. Such networks are run row by row. This is tested with random weights,
    because it depends only on shapes and kernels, and must be equal for all backbones of one architecture, since those
    that differ above a cut share the rows below it. Does not change the random state.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = built(backbone.family, backbone.card).network.eval()
    top = list(network.stages)[-1]
    prefix = Prefix(network, (top,), view="", inputs=tuple(shapes)).eval()
    examples = example_tensors(shapes, 1)
    same = {name: np.repeat(tensor.numpy(), BATCH, axis=0) for name, tensor in zip(shapes, examples, strict=True)}
    runner = TorchRunner(prefix, examples, device, threads, alone=False)
    runner.pads = False
    found = runner(same)[top]
    first = {name: array[0].tobytes() for name, array in found.items() if name not in network.shared}
    place = any(row.tobytes() != bits for name, bits in first.items() for row in found[name])
    fewer = (runner({name: array[:count] for name, array in same.items()})[top] for count in FEWER)
    return place, any(state[name][0].tobytes() != bits for state in fewer for name, bits in first.items())


def half_error(backbone: Backbone, cut: str, state: Mapping[str, np.ndarray], view: str) -> float:
    """Return the error of the pretrained network's readout if the state at `cut` is rounded to float16.

    Root mean square of the difference, relative to the standard deviation over examples, which is what a head can
    distinguish (relative to the readout itself if that is zero). `OVERFLOW` if a value is too large.
    """
    rounded = {name: as_half(array).astype(array.dtype, copy=False) for name, array in state.items()}
    if any(overflows(array) for array in state.values()):
        return OVERFLOW
    if cut == "output":
        exact, found = state[view], rounded[view]
    else:
        prefix = Prefix(backbone.network, ["output"], view=view, inputs=tuple(state), after=cut).eval()
        with torch.inference_mode():
            exact = prefix(*(torch.from_numpy(array) for array in state.values()))[0].numpy()
            found = prefix(*(torch.from_numpy(array) for array in rounded.values()))[0].numpy()
    wide = exact.astype(np.float64)
    scale = _size(wide - wide.mean(axis=0)) or _size(wide) or 1.0
    error = _size(found - wide) / scale
    return error if np.isfinite(error) else OVERFLOW


def _size(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2)))


class Refused(Exception):  # never leaves the store
    """The reason why ONNX Runtime cannot run a prefix, as a sentence."""


def exported(prefix: Prefix, shapes: Shapes, threads: int) -> tuple[bytes, bool]:
    """Export the prefix to ONNX with a dynamic first axis; return it, and whether a single row gives the same bits as
    in a batch.

    Raises:
        Refused: the export fails, cannot be run, or differs from torch.
    """
    examples = example_tensors(shapes, BATCH)
    few = tuple(tensor[:TRACED] for tensor in examples)
    with torch.no_grad():
        outputs = prefix(*few)
    expected = {name: one for name, one in zip(prefix.outputs, outputs, strict=True) if name not in prefix.selects}
    data = _written(prefix, shapes, few)
    inputs = {name: tensor.numpy() for name, tensor in zip(shapes, examples, strict=True)}
    try:
        runner = OnnxRunner(data, shared=prefix.network.shared, threads=threads, alone=False)
        found = runner.run(inputs)
    except Exception as error:  # the errors of onnxruntime have no common base class
        if out_of_memory(error):  # no fault of the network's, and not to be remembered as one
            raise
        raise Refused(f"the exported network cannot be run ({_first_line(error)}).") from error
    shared = prefix.network.shared
    for name, tensor in expected.items():
        _compare(name, found[name] if name.rpartition("/")[2] in shared else found[name][:TRACED], tensor.numpy())
    if any(map(_ragged, (shape for shape, _ in shapes.values()))):
        longer = example_tensors(shapes, TRACED, LENGTHS[1])
        again = runner.run({name: tensor.numpy() for name, tensor in zip(shapes, longer, strict=True)})
        with torch.no_grad():
            for name, tensor in zip(prefix.outputs, prefix(*longer), strict=True):
                _compare(name, again[name], tensor.numpy())
    return data, _alone(runner, inputs, found, shared)


def _written(prefix: Prefix, shapes: Shapes, examples: tuple[Tensor, ...]) -> bytes:
    free = {name: {0: ROWS_AXIS, **_ragged(shape)} for name, (shape, _) in shapes.items()}
    free |= {
        name: {0: "selected" if name in prefix.selects else ROWS_AXIS}
        for name in prefix.outputs
        if name.rpartition("/")[2] not in prefix.network.shared
    }
    buffer = io.BytesIO()
    try:
        with _traceable(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                prefix,
                examples,
                buffer,  # type: ignore[arg-type]  # a buffer is as good as a path
                input_names=list(shapes),
                output_names=list(prefix.outputs),
                dynamic_axes=free,
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # nor has what the exporter raises
        if out_of_memory(error):
            raise
        raise Refused(f"the export failed ({_first_line(error)}).") from error
    return buffer.getvalue()


def _ragged(shape: tuple[int | None, ...]) -> dict[int, str]:
    """Return the ragged axes of a batch."""
    return {axis + 1: "length" for axis, size in enumerate(shape) if size is None}


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise Refused(f"the exported network returns {found.dtype} {found.shape} at {name}, not {expected.dtype} "
                      f"{expected.shape}.")  # fmt: skip
    scale = float(np.abs(expected).max()) or 1.0
    error = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    if not error <= TOLERANCE:
        raise Refused(f"the exported network differs from torch at {name} by {error:.1e} of the largest value.")


def _alone(
    runner: OnnxRunner, inputs: dict[str, np.ndarray], found: dict[str, np.ndarray], shared: frozenset[str]
) -> bool:
    """Return whether the first and the last row, run alone, give the same bits as in the batch."""
    for row in (0, BATCH - 1):
        try:
            one = runner.run({name: array[row : row + 1] for name, array in inputs.items()})
        except Exception as error:
            if out_of_memory(error):
                raise
            return False
        for name, array in found.items():
            wanted = array if name.rpartition("/")[2] in shared else array[row : row + 1]
            if not np.array_equal(one[name], wanted):
                return False
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def _traceable() -> Iterator[None]:
    """Context for tracing: disables shape checks (sizes are tensors) and fused attention (not exportable)."""
    checked, fast_path = jaxtyping.config.jaxtyping_disable, torch.backends.mha.get_fastpath_enabled()
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", checked)
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def exact_torch(threads: int) -> Iterator[None]:
    """Context in which torch uses this number of CPU threads and true float32 on accelerators: no TensorFloat-32, no
    autotuning."""
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
