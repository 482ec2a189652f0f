"""Several filter sizes in parallel, compared with each of them alone."""

from regraft.contracts.study import Arm, Effect, Study

ALONE = ("1x1", "3x3", "5x5")

ENTRY = Study(
    title="Filters of several sizes side by side in one module",
    claim="Image structures have several sizes, so filters of several sizes in parallel, and a pool beside "
    "them, see more than filters of one size.",
    source="Szegedy et al. 2014, arXiv:1409.4842, section 4",
    measurement="GoogLeNet with batch norm, all four branches in every module, against modules with a single branch "
    "(the 3x3 and the 5x5 behind their reductions) and modules without the pool branch; all behind the same stem, "
    "widened to the same multiply-adds.",
    arms=(
        Arm(name="all", title="1x1, 3x3, 5x5 and pool"),
        *(Arm(name=f"{size} only", title=f"the {size} branch alone", backbone=f"lab:{size}-only") for size in ALONE),
        Arm(
            name="no pool",
            title="1x1, 3x3 and 5x5",
            backbone="lab:no-pool",
        ),
    ),
    effects=tuple(
        Effect(name=f"more accurate than {name}", measure="accuracy", plus="all", minus=name)
        for name in (*(f"{size} only" for size in ALONE), "no pool")
    ),
    says={
        "as claimed": "At equal cost all branches together are more accurate than any one filter size alone, and than "
        "the module without its pool.",
        "in part": "At equal cost all branches together beat some of the simpler modules; that they beat each of them "
        "is not borne out.",
        "not here": "At equal cost and this scale, filters of several sizes in parallel gain nothing over a simpler "
        "module.",
        "not resolved at this scale": "At equal cost no difference between all branches and simpler modules can be "
        "determined from so few runs.",
    },
)
