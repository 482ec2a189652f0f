"""Auxiliary classifiers, with and without batch norm: effects on gradients and accuracy."""

from regraft.contracts.study import Arm, Effect, Study

SIDES = {"side_heads": True}

ENTRY = Study(
    title="Auxiliary classifiers, with and without batch norm",
    claim="Classifiers on intermediate modules strengthen the gradient that reaches the lower ones, which would "
    "otherwise "
    "vanish, and regularise, so the network becomes more accurate. Later, the same first author found that they do not "
    "speed up early training and act as regularisers.",
    source="Szegedy et al. 2014, arXiv:1409.4842, section 5; revised in Szegedy et al. 2015, arXiv:1512.00567, section "
    "4",
    measurement="GoogLeNet with and without batch norm, each with and without the two auxiliary classifiers (weight "
    "0.3) in training. Gradients are measured in every stage at every step, before clipping. Weights are initialised "
    "with the variance that ReLUs need (He et al. 2015), which postdates the paper.",
    arms=(
        Arm(name="norm", title="batch norm"),
        Arm(name="norm, aux", title="batch norm and auxiliary classifiers", options=SIDES),
        Arm(name="bare", title="biases instead of batch norm", backbone="lab:bare"),
        Arm(name="bare, aux", title="biases, and auxiliary classifiers", backbone="lab:bare", options=SIDES),
    ),
    effects=(
        Effect(
            name="stronger gradient without batch norm", measure="signal", plus="bare, aux", minus="bare", worth=0.05
        ),
        Effect(name="more accurate without batch norm", measure="accuracy", plus="bare, aux", minus="bare"),
        Effect(name="stronger gradient with batch norm", measure="signal", plus="norm, aux", minus="norm", worth=0.05),
        Effect(name="more accurate with batch norm", measure="accuracy", plus="norm, aux", minus="norm"),
        Effect(name="less overfitting without batch norm", measure="gap", plus="bare", minus="bare, aux", key=False),
        Effect(name="less overfitting with batch norm", measure="gap", plus="norm", minus="norm, aux", key=False),
        Effect(name="gradient by batch norm", measure="signal", plus="norm", minus="bare", worth=0.05, key=False),
        Effect(name="accuracy by batch norm", measure="accuracy", plus="norm", minus="bare", key=False),
    ),
    says={
        "as claimed": "Auxiliary classifiers strengthen the gradient below and make the network more accurate, with "
        "and without batch norm.",
        "in part": "The claims for gradient and accuracy hold in part for auxiliary classifiers, with and without "
        "batch norm.",
        "not here": "At this scale auxiliary classifiers neither strengthen the gradient below nor make the network "
        "more accurate.",
        "not resolved at this scale": "The effect of auxiliary classifiers on gradient and accuracy cannot be "
        "determined from so few runs.",
    },
)
