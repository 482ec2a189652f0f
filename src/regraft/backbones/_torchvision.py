"""The one way to torchvision's models, also where its compiled operators do not load.

torchvision's wheel on the package index is built against CUDA torch. Beside a CPU-only torch its operators do not
load, and its import ends in "operator torchvision::nms does not exist". Declaring the schemas of `nms` and `qnms` is
enough for every model to import and run; calling one of the two then still fails, as it must.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from regraft.backbones.undrawn import Undrawn
from regraft.nn.initialise import initialise

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
"""Operators that torchvision describes to torch while it is imported, whether they were loaded or not.

Source: torchvision/_meta_registrations.py and torchvision/csrc/ops/nms.cpp.
"""


def torchvision_models() -> ModuleType:
    """The module `torchvision.models`, imported now and not before.

    The plain import is tried first, so a proper install is left exactly as it is.
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


def drawn_model(name: str, **options: Any) -> Any:
    """torchvision's model `name`, its first weights drawn by our rule (`initialise`) from torch's global generator.

    torchvision's own rules reckon with batch norm in training. In evaluation mode, where new statistics change
    nothing, features of random weights come out at 1e-8 (Inception v3), 1e-10 (MobileNetV3) or 1e-14 (EfficientNet-B0)
    of the input's scale; by ours, they keep it or lose a few digits.
    """
    with Undrawn():
        net = torchvision_models().get_model(name, weights=None, **options)
    initialise(net)
    return net
