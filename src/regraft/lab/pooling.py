"""Global average pooling before the classifier, compared with fully connected layers."""

from regraft.contracts.study import Arm, Effect, Study

FEWEST = 2 / 15
"""Smallest share of the training examples: 20 of 150."""

ENTRY = Study(
    title="Global average pooling at the top instead of dense layers",
    claim="Averaging the last feature map over its cells replaces dense layers: it has no parameters, so it "
    "overfits less, and it is no less accurate (0.6 points more accurate on ImageNet).",
    source="Lin et al. 2013, arXiv:1312.4400, section 3.2; Szegedy et al. 2014, arXiv:1409.4842, section 5",
    measurement="GoogLeNet with batch norm and three tops: the global average, every cell of the last grid as a "
    "feature, and two dense layers with dropout 0.5 as in AlexNet and VGG; with fewer and fewer training "
    "examples and the same number of steps. Overfitting is training accuracy minus test accuracy, both on plain views.",
    arms=(
        Arm(name="average", title="global average"),
        Arm(name="flat", title="every cell of the grid", backbone="lab:flat"),
        Arm(name="dense", title="two dense layers", backbone="lab:dense"),
    ),
    shares=(1.0, 1 / 3, FEWEST),
    effects=(
        Effect(
            name="at most half of the parameters",
            measure="parameters",
            plus="dense",
            minus="average",
            above=2.0,
            worth=0.0,
        ),
        Effect(
            name="less overfitting with fewest examples", measure="gap", plus="dense", minus="average", share=FEWEST
        ),
        Effect(name="less overfitting with most examples", measure="gap", plus="dense", minus="average"),
        Effect(
            name="no less accurate with most examples",
            measure="accuracy",
            plus="average",
            minus="dense",
            above=-0.01,
            worth=0.0,
        ),
        Effect(
            name="accuracy with fewest examples",
            measure="accuracy",
            plus="average",
            minus="dense",
            share=FEWEST,
            key=False,
        ),
        Effect(
            name="overfitting of cells with fewest examples",
            measure="gap",
            plus="flat",
            minus="average",
            share=FEWEST,
            key=False,
        ),
        Effect(name="accuracy against cells", measure="accuracy", plus="average", minus="flat", key=False),
    ),
    says={
        "as claimed": "The global average saves most of the parameters, overfits less than dense layers with few and "
        "with many examples, and is no less accurate.",
        "in part": "The global average saves the parameters; the claims of less overfitting and equal accuracy are "
        "partly borne out.",
        "not here": "At this scale the global average saves parameters, but it does not overfit less than dense layers "
        "with dropout.",
        "not resolved at this scale": "The global average saves the parameters; whether it overfits less cannot be "
        "determined from so few runs.",
    },
)
