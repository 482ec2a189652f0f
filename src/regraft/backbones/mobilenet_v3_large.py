"""MobileNetV3, large, from torchvision.

Source: Howard et al. 2019, arXiv:1905.02244, table 1. Weights: torchvision's
MobileNet_V3_Large_Weights.IMAGENET1K_V1, by the plain recipe, as for the other backbones here.
"""

from regraft.backbones._imagenet import torchvision_weights
from regraft.backbones._mobilenet_v3 import mobilenet_v3

ENTRY = mobilenet_v3(
    "mobilenet_v3_large",
    width=1280,
    ends=(2, 4, 7, 13, 16),
    title="MobileNetV3, large: depthwise convolutions and channel gates, 5.5 million parameters",
    prefer="on a small machine: more accurate than GoogLeNet on ImageNet (74 %) for a seventh of its work (0.2 billion "
    "multiply-adds)",
    published=torchvision_weights("mobilenet_v3_large-8738ca79.pth", size_mb=21.1, top1=74.042),
)
