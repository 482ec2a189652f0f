"""Compare GoogLeNet with networks in the proportions of AlexNet, VGG-16 and ResNet-18."""

from regraft.contracts.study import Arm, Effect, Study

ENTRY = Study(
    title="GoogLeNet against AlexNet, VGG and ResNet at equal training budget",
    claim="GoogLeNet has twelve times fewer parameters than AlexNet and is far more accurate; it is about as "
    "accurate as VGG at a fraction of the parameters.",
    source="Szegedy et al. 2014, arXiv:1409.4842, sections 1 and 7; Simonyan & Zisserman 2014, arXiv:1409.1556, table "
    "7",
    measurement="GoogLeNet against networks in the proportions of AlexNet, VGG-16 and ResNet-18, all with batch norm, "
    "each narrowed or widened above its first stage to match GoogLeNet's multiply-adds, and trained for the same "
    "number of steps.",
    arms=(
        Arm(name="googlenet", title="GoogLeNet"),
        Arm(name="alexnet", title="five convolutions, two dense layers", backbone="lab:alexnet"),
        Arm(name="vgg", title="thirteen 3x3 convolutions, two dense layers", backbone="lab:vgg"),
        Arm(name="resnet", title="eight residual blocks", backbone="lab:resnet"),
    ),
    effects=(
        Effect(
            name="at most half of AlexNet's parameters",
            measure="parameters",
            plus="alexnet",
            minus="googlenet",
            above=2.0,
            worth=0,
        ),
        Effect(name="more accurate than AlexNet", measure="accuracy", plus="googlenet", minus="alexnet"),
        Effect(
            name="no less accurate than VGG", measure="accuracy", plus="googlenet", minus="vgg", above=-0.02, worth=0
        ),
        Effect(name="parameters of VGG", measure="parameters", plus="vgg", minus="googlenet", key=False),
        Effect(name="parameters of ResNet", measure="parameters", plus="resnet", minus="googlenet", key=False),
        Effect(name="accuracy against ResNet", measure="accuracy", plus="googlenet", minus="resnet", key=False),
    ),
    says={
        "as claimed": "At equal multiply-adds and equal training GoogLeNet is more accurate than the AlexNet-like "
        "network with less than half of its parameters, and no more than two points behind the VGG-like one.",
        "in part": "At equal multiply-adds and equal training, the claims against AlexNet and VGG are partly "
        "borne out.",
        "not here": "At equal multiply-adds and this scale GoogLeNet is not more accurate than the AlexNet-like "
        "network, nor level with the VGG-like one.",
        "not resolved at this scale": "At equal multiply-adds no difference in accuracy between GoogLeNet and the "
        "older networks is distinguishable with so few runs.",
    },
)
