"""What float16 costs at a cut, measured before anything is kept in it."""

from collections.abc import Mapping

import numpy as np

from regraft.backbones.backbone import Backbone

HALF_LIMIT = 1e-2
"""Largest error of the features, relative to their standard deviation, at which activations are kept in float16. Our
choice; 0.0001 to 0.003 is usual (GoogLeNet and ResNet-18, trained and random)."""
OVERFLOW = 1e9
"""Stands for the error where a value does not fit into float16 at all."""


def half_error(backbone: Backbone, cut: str, state: Mapping[str, np.ndarray], view: str) -> float:
    """Error of the untouched network's top view when the state at `cut` is rounded to float16.

    Root mean square of the difference, relative to the standard deviation over examples, which is what a head tells
    apart: to the root mean square of the view less its mean over examples (of the view itself where that is zero).
    `OVERFLOW` where a value is too large.
    """
    rounded = {name: as_half(array).astype(array.dtype, copy=False) for name, array in state.items()}
    if any(overflows(array) for array in state.values()):
        return OVERFLOW
    if cut == "output":
        exact, found = state[view], rounded[view]
    else:
        import torch

        from regraft.activations.export import Prefix

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


def as_half(array: np.ndarray) -> np.ndarray:
    """Floats as float16, everything else as it is."""
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def overflows(array: np.ndarray) -> bool:
    """Whether a finite value of `array` becomes infinite in float16."""
    if array.dtype.kind != "f":
        return False
    return bool((np.isinf(as_half(array)) & np.isfinite(array)).any())
