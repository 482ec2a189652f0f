"""Map BVLC's GoogLeNet for Caffe to our variant `paper`: layer names and input convention.

Caffe's inputs are bytes from 0 to 255 with channels blue, green, red, minus each channel's mean over the training
images (104, 117, 123). Our input is red, green, blue as `(pixels / 255 - mean) / std`, so the input channels of the
first convolution are reversed once; with mean `(123, 117, 104) / 255` and standard deviation `1 / 255` the values are
`pixels - (123, 117, 104)`, as in Caffe. Caffe's images were resized to 256 x 256 regardless of their aspect ratio; we
resize the shorter side to 256 and keep the aspect ratio (our choice).

Source: models/bvlc_googlenet/train_val.prototxt of BVLC/caffe. Its pools round up, and its response normalisation has
the constants of `nn.inception.ResponseNorm`, as in variant `paper`.
"""

from collections.abc import Mapping
from typing import Any

SIDE_HEADS = {"loss1/": "aux1.", "loss2/": "aux2."}
_STEM = {"conv1/7x7_s2": "conv1.conv", "conv2/3x3_reduce": "conv2.conv", "conv2/3x3": "conv3.conv"}
_MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_BRANCHES = {
    "1x1": "branch1.conv",
    "3x3_reduce": "branch2.0.conv",
    "3x3": "branch2.1.conv",
    "5x5_reduce": "branch3.0.conv",
    "5x5": "branch3.1.conv",
    "pool_proj": "branch4.1.conv",
}
LAYERS: Mapping[str, str] = {
    **_STEM,
    **{
        f"inception_{module}/{theirs}": f"inception{module}.{ours}"
        for module in _MODULES
        for theirs, ours in _BRANCHES.items()
    },
    "loss3/classifier": "fc",
}
"""Our module by Caffe's layer."""


def translate(blobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict of variant `paper` from a Caffe model's blobs; blobs unknown to it keep Caffe's names."""
    return dict(_translated(name, blob) for name, blob in blobs.items())


def _translated(name: str, blob: Any) -> tuple[str, Any]:
    layer, _, position = name.rpartition("/")
    for theirs, ours in SIDE_HEADS.items():
        if layer.startswith(theirs):
            return ours + name.removeprefix(theirs), blob
    if layer not in LAYERS or position not in ("0", "1"):
        return name, blob
    ours = LAYERS[layer]
    if position == "1":
        return f"{ours}.bias", blob.flatten()
    if ours == "fc":
        return "fc.weight", blob.reshape(blob.shape[-2:])  # old blobs have two leading axes of length 1
    if ours == "conv1.conv" and blob.ndim == 4:
        return "conv1.conv.weight", blob.flip(1)
    return f"{ours}.weight", blob
