"""MobileNetV3, small, from torchvision.

Source: Howard et al. 2019, arXiv:1905.02244, table 2. Weights: torchvision's
MobileNet_V3_Small_Weights.IMAGENET1K_V1.
"""

from regraft.backbones._imagenet import torchvision_weights
from regraft.backbones._mobilenet_v3 import mobilenet_v3

ENTRY = mobilenet_v3(
    "mobilenet_v3_small",
    width=1024,
    ends=(1, 2, 4, 9, 12),
    title="MobileNetV3, small: depthwise convolutions and channel gates, 2.5 million parameters",
    prefer="where every millisecond counts: least work of all here (0.06 billion multiply-adds), for 68 % on ImageNet",
    published=torchvision_weights("mobilenet_v3_small-047dcff4.pth", size_mb=9.8, top1=67.668),
)
