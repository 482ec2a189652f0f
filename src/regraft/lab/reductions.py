"""The 1x1 reductions: how much computation they save, and their effect on accuracy."""

from regraft.contracts.study import Arm, Effect, Study

ENTRY = Study(
    title="1x1 reductions before the 3x3 and 5x5 convolutions, and after the pool",
    claim="1x1 reductions make the Inception module affordable: without them its cost grows from module to module, "
    "with them depth and width can rise at the same budget, and no accuracy is lost.",
    source="Szegedy et al. 2014, arXiv:1409.4842, section 4 and figure 2",
    measurement="GoogLeNet with batch norm against the same network of naive modules (figure 2a): once with the same "
    "filter counts, once narrowed to the same multiply-adds.",
    arms=(
        Arm(name="reduced", title="with 1x1 reductions"),
        Arm(
            name="naive, as costly",
            title="naive modules, narrowed to the same multiply-adds",
            backbone="lab:naive-narrow",
        ),
        Arm(
            name="naive, as wide",
            title="naive modules with the same counts of filters",
            backbone="lab:naive",
        ),
    ),
    effects=(
        Effect(
            name="at most half of the cost at equal width",
            measure="multiply_adds",
            plus="naive, as wide",
            minus="reduced",
            above=2.0,
            worth=0.0,
        ),
        Effect(name="more accurate at equal cost", measure="accuracy", plus="reduced", minus="naive, as costly"),
        Effect(
            name="no less accurate at equal width",
            measure="accuracy",
            plus="reduced",
            minus="naive, as wide",
            above=-0.02,
            worth=0.0,
        ),
        Effect(
            name="fewer parameters at equal width",
            measure="parameters",
            plus="naive, as wide",
            minus="reduced",
            key=False,
        ),
    ),
    says={
        "as claimed": "The reductions save more than half of the multiply-adds, lose at most two points of "
        "accuracy to modules of equal width, and gain accuracy over naive modules of equal cost.",
        "in part": "The counted savings are as claimed, but not every part of the claim about accuracy is borne out.",
        "not here": "At this scale the reductions do not pay as claimed.",
        "not resolved at this scale": "Whether the reductions pay in accuracy cannot be determined from so few runs.",
    },
)
