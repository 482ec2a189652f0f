"""ResNet-50, from torchvision.

Source: He et al. 2015, arXiv:1512.03385. Weights: torchvision's ResNet50_Weights.IMAGENET1K_V1, trained by the plain
recipe that most published comparisons start from. IMAGENET1K_V2 is more accurate on ImageNet itself (80.858 %), with
label smoothing among other means, which makes frozen features worth less elsewhere (Kornblith et al. 2019,
arXiv:1805.08974); its file can be given as `resnet50@file:PATH`.
"""

from regraft.backbones._imagenet import torchvision_weights
from regraft.backbones._resnet import resnet

ENTRY = resnet(
    "resnet50",
    width=2048,
    title="ResNet-50: residual blocks with bottlenecks, 25.6 million parameters",
    prefer="to compare with published work on transfer, where it is the usual yardstick: 76 % on ImageNet for 4.1 "
    "billion multiply-adds",
    published=torchvision_weights("resnet50-0676ba61.pth", size_mb=97.8, top1=76.130),
)
