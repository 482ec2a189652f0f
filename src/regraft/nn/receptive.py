"""Receptive fields: the part of the input on which one cell of a layer's output depends, tracked operation by
operation.

Every operation of a forward pass is observed as torch dispatches it, however the network is written. A convolution or
pool with kernel size k, dilation d and stride s increases the field by (k - 1) d steps and multiplies the step by s;
parallel and summed branches have the largest of their fields. A linear layer over a grid, a global mean and attention
over all tokens depend on the whole input. A factor that depends on the whole input and is equal for all cells (squeeze
and excitation, group norm's statistics) is a gate: it is reported, and the field of the rest is kept.

The field is the theoretical one; near the edge it includes padding, and the effective field is smaller (Luo et al.
2016, arXiv:1701.04128). Source: Araujo et al. 2019, https://distill.pub/2019/computing-receptive-fields, equations 1
and 2.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

Pair = tuple[int, ...]
"""Two numbers, along height and width."""

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What one cell of a tensor depends on."""

    field: Pair = (1, 1)
    """Height and width of the field, in cells of the input (pixels, for images)."""
    step: Pair = (1, 1)
    """Distance between the fields of two neighbouring cells, in cells of the input."""
    cells: Pair = (0, 0)
    """Height and width of the grid; (0, 0) before the first convolution or pool."""
    whole: bool = False
    """Whether it depends on the whole input, of any size; `field` is then that of the operations below."""
    gated: bool = False
    """Whether the field is scaled by something that depends on the whole input."""

    def windowed(self, kernel: Pair, stride: Pair, cells: Pair) -> "Reach":
        """Return the reach after an operation with a `kernel` (including dilation), `stride` and output grid
        `cells`."""
        field = tuple(f + (k - 1) * s for f, k, s in zip(self.field, kernel, self.step, strict=True))
        step = tuple(s * t for s, t in zip(self.step, stride, strict=True))
        return replace(self, field=field, step=step, cells=cells)

    def mixed(self) -> "Reach":
        """Return the reach after an operation over all cells."""
        return self if prod(self.cells) == 1 and not self.whole else replace(self, whole=True, gated=False)


class Reaches:
    """The reach of every tensor of a pass, tracked operation by operation from `inputs`."""

    def __init__(self, inputs: Any) -> None:
        tensors = _tensors(inputs)
        self._num_examples = max((one.shape[0] for one in tensors if one.ndim), default=1)
        # Keys are weak references by identity, so tracking a tensor does not keep it in memory.
        self._known: MutableMapping[Tensor, Reach | None] = WeakTensorKeyDictionary(dict.fromkeys(tensors, Reach()))

    def of(self, tensor: Tensor) -> Reach | None:
        """Return the reach of a tensor; None if it is unknown, or the tensor depends on no input."""
        return self._known.get(tensor)

    def follow(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Track an operation dispatched by torch, from its arguments to its output."""
        found, made = [self._known[one] for one in _tensors((args, kwargs)) if one in self._known], _tensors(output)
        if found and made:
            reach = self._after(func, args, made[0], found)
            for one in made:
                self._known[one] = reach

    def attended(self, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> None:
        """Track attention as a whole, which is not dispatched as one operation."""
        found = [self._known[one] for one in (query, key, value) if one in self._known]
        known = [one for one in found if one is not None]
        reach = _together(known) if known and len(known) == len(found) else None
        self._known[output] = reach and _product(reach, query, key)

    def _after(self, func: Any, args: Any, made: Tensor, found: list[Reach | None]) -> Reach | None:
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        before, operation = _together(known), func.overloadpacket
        if rule := _WINDOWS.get(operation):
            return rule(before, args, made)
        if operation in _REDUCTIONS:
            return _reduced(before, args)
        if operation in _PRODUCTS:
            return self._multiplied(before, *[one for one in args if isinstance(one, Tensor)][-2:])
        if operation is _aten.native_group_norm:
            return replace(before, gated=before.gated or (not before.whole and prod(before.cells) != 1))
        harmless = torch.Tag.pointwise in func.tags or func.is_view or operation in _CELL_BY_CELL
        return before if harmless else None

    def _multiplied(self, before: Reach, left: Tensor, right: Tensor) -> Reach | None:
        """Return the reach after a matrix product: cell by cell if it has a row for each cell, else over all cells."""
        if before.whole:
            return before
        if left in self._known and right in self._known:
            return _product(before, left, right)
        rows = prod(left.shape[:-1]) if left in self._known else prod(right.shape) // right.shape[-2]
        by_cell = prod(before.cells) and rows // self._num_examples >= prod(before.cells)
        return before if by_cell else before.mixed()


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, Tensor)]


def _product(before: Reach, left: Tensor, right: Tensor) -> Reach | None:
    """Return the reach of a product of activations: attention over all cells (within windows it is not tracked)."""
    among = max(*left.shape[-2:], *right.shape[-2:])
    return before if before.whole else before.mixed() if among >= prod(before.cells) else None


def _together(reaches: list[Reach]) -> Reach:
    """Return the reach of a cell computed from cells of each of `reaches`."""
    grids = [one for one in reaches if prod(one.cells) != 1] or reaches
    gated = any(one.gated for one in reaches) or any(one.whole and one not in grids for one in reaches)
    whole = any(one.whole for one in grids)
    return Reach(
        field=_largest(one.field for one in grids),
        step=_largest(one.step for one in grids),
        cells=_largest(one.cells for one in grids),
        whole=whole,
        gated=gated and not whole,
    )


def _largest(pairs: Iterator[Pair]) -> Pair:
    return tuple(map(max, zip(*pairs, strict=True)))


def _pair(value: Any) -> Pair:
    """Return a setting that may be one number or one per axis, for the last two axes."""
    values = [value] if isinstance(value, int) else list(value)
    return int(values[-2 if len(values) > 1 else 0]), int(values[-1])


def _grid(tensor: Tensor) -> Pair:
    return tuple(tensor.shape[-2:])


def _convolved(before: Reach, args: Any, made: Tensor) -> Reach | None:
    """Source: the arguments of aten::convolution."""
    weight, stride, dilation, transposed = args[1], _pair(args[3]), _pair(args[5]), args[6]
    if transposed or weight.ndim != 4:
        return before if before.whole else None
    kernel = tuple((size - 1) * gap + 1 for size, gap in zip(weight.shape[2:], dilation, strict=True))
    return before.windowed(kernel, stride, _grid(made))


def _pooled(before: Reach, args: Any, made: Tensor) -> Reach | None:
    """Source: the arguments of aten::max_pool2d_with_indices, avg_pool2d and avg_pool3d."""
    kernel = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
    return before.windowed(kernel, stride, _grid(made))


def _adapted(before: Reach, args: Any, made: Tensor) -> Reach | None:
    """Windows of an adaptive pool differ by at most one cell; the field is that of the largest."""
    cells, wanted = _grid(args[0]), _grid(made)
    if prod(wanted) == 1:
        return replace(before.mixed(), cells=wanted)
    sides = [*zip(cells, wanted, strict=True)]
    kernel = tuple(max(-(-(at + 1) * have // want) - at * have // want for at in range(want)) for have, want in sides)
    return before.windowed(kernel, tuple(max(1, have // want) for have, want in sides), wanted)


def _reduced(before: Reach, args: Any) -> Reach | None:
    """Return the reach after a mean or similar along axes: over channels, a window cut out before, or the whole
    grid."""
    tensor = args[0]
    given = args[1] if len(args) > 1 and args[1] is not None else range(tensor.ndim)
    axes = {axis % tensor.ndim for axis in ([given] if isinstance(given, int) else given)}
    if tensor.ndim == 4:
        first = 1 if tuple(tensor.shape[1:3]) == before.cells != tuple(tensor.shape[2:]) else 2
        kernel = tuple(int(tensor.shape[first + axis]) if first + axis in axes else 1 for axis in (0, 1))
        left = tuple(1 if first + axis in axes else before.cells[axis] for axis in (0, 1))
        if kernel == before.cells:
            return replace(before.mixed(), cells=(1, 1))
        return before.windowed(kernel, (1, 1), left)
    along_cells = any(tensor.shape[axis] >= prod(before.cells) > 1 for axis in axes)
    return replace(before.mixed(), cells=(1, 1)) if along_cells else before


_WINDOWS: Mapping[Any, Callable[[Reach, Any, Tensor], Reach | None]] = {
    _aten.convolution: _convolved,
    _aten.max_pool2d_with_indices: _pooled,
    _aten.avg_pool2d: _pooled,
    _aten.avg_pool3d: _pooled,
    _aten._adaptive_avg_pool2d: _adapted,  # noqa: SLF001 - the operator's own name
    _aten.adaptive_max_pool2d: _adapted,
}
_REDUCTIONS = frozenset({_aten.mean, _aten.sum, _aten.amax, _aten.var_mean})
_PRODUCTS = frozenset({_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm})
_CELL_BY_CELL = frozenset(
    getattr(_aten, name)
    for name in (
        "cat", "stack", "clone", "_to_copy", "_unsafe_view", "_reshape_copy", "copy_", "constant_pad_nd", "as_strided_",
        "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "native_layer_norm",
        "_softmax", "_safe_softmax", "hardswish", "hardswish_",
    )
)  # fmt: skip
"""Operations that are neither pointwise by torch's own tag nor views, and yet do not mix cells: they concatenate or
normalise channels, move values, or, like softmax between attention's two products, mix what is mixed before or after.
"""
