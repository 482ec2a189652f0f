"""ResNet-18, from torchvision.

Source: He et al. 2015, arXiv:1512.03385. Weights: torchvision's ResNet18_Weights.IMAGENET1K_V1.
"""

from regraft.backbones._imagenet import torchvision_weights
from regraft.backbones._resnet import resnet

ENTRY = resnet(
    "resnet18",
    width=512,
    title="ResNet-18: residual blocks, 11.7 million parameters",
    prefer="to compare with published work, much of which reports it, at about GoogLeNet's cost (1.8 billion "
    "multiply-adds)",
    published=torchvision_weights("resnet18-f37072fd.pth", size_mb=44.7, top1=69.758),
)
