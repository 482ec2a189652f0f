"""Import torchvision's models, also if its compiled operators do not load.

torchvision's wheel on the package index is built against CUDA torch. With a CPU-only torch its operators do not load,
and its import fails with "operator torchvision::nms does not exist". Declaring the schemas of `nms` and `qnms` is
enough to import and run every model; calling either of the two still fails.
"""

from importlib import import_module
from types import ModuleType

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""Operators that torchvision registers with torch on import, whether they were loaded or not.

Source: torchvision/_meta_registrations.py and torchvision/csrc/ops/nms.cpp.
"""


def torchvision_models() -> ModuleType:
    """Import `torchvision.models` lazily and return it.

    The plain import is tried first, so a working installation is left unchanged. Call it also before importing a
    library that imports torchvision itself.
    """
    try:
        return import_module("torchvision.models")
    except RuntimeError:
        missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
        if not missing:
            raise
    for name in missing:
        torch.library.define(f"torchvision::{name}", SCHEMAS[name])
    return import_module("torchvision.models")
