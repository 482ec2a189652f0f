"""Transfer learning on your own labelled data, evaluated against the baselines it has to beat.

    data = regraft.open_dataset("photos")
    run = regraft.fit(data, backbone="googlenet", strategy="partial")
    run.report, run.verdict()
    regraft.load(run.path).predict(["some.jpg"])

Submodules are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from regraft.version import VERSION as __version__  # noqa: N811 - its name by convention

if TYPE_CHECKING:
    from regraft.bundles.bundle import load
    from regraft.doors.python import advise, audit, export, extend, fit, open_dataset
    from regraft.doors.sklearn import Features, RegraftClassifier, RegraftRegressor
    from regraft.recipe import Recipe
    from regraft.workbench.compare import compare
    from regraft.workbench.describe import describe
    from regraft.workbench.run import Run

__all__ = [
    "Features",
    "Recipe",
    "RegraftClassifier",
    "RegraftRegressor",
    "Run",
    "__version__",
    "advise",
    "audit",
    "compare",
    "describe",
    "export",
    "extend",
    "fit",
    "load",
    "open_dataset",
]

_HOMES = {
    "Features": "regraft.doors.sklearn",
    "Recipe": "regraft.recipe",
    "RegraftClassifier": "regraft.doors.sklearn",
    "RegraftRegressor": "regraft.doors.sklearn",
    "Run": "regraft.workbench.run",
    "advise": "regraft.doors.python",
    "audit": "regraft.doors.python",
    "compare": "regraft.workbench.compare",
    "describe": "regraft.workbench.describe",
    "export": "regraft.doors.python",
    "extend": "regraft.doors.python",
    "fit": "regraft.doors.python",
    "load": "regraft.bundles.bundle",
    "open_dataset": "regraft.doors.python",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
