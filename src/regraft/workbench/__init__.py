"""The verbs: one file each. A verb takes and returns values; it neither prints nor parses, and knows no status code.

Each is loaded on first use. File and verb have one name, so importing the file would bind the module here; the class
below binds the verb instead, and `workbench.fit` is the function whoever came first.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.workbench.backbones import backbones
    from regraft.workbench.compare import compare
    from regraft.workbench.describe import describe
    from regraft.workbench.evaluate import evaluate
    from regraft.workbench.extend import extend
    from regraft.workbench.features import features
    from regraft.workbench.fit import fit
    from regraft.workbench.lab import lab
    from regraft.workbench.predict import predict
    from regraft.workbench.show import show
    from regraft.workbench.strategies import strategies
    from regraft.workbench.train import train

__all__ = [
    "backbones",
    "compare",
    "describe",
    "evaluate",
    "extend",
    "features",
    "fit",
    "lab",
    "predict",
    "show",
    "strategies",
    "train",
]


class _Verbs(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        is_file = name in __all__ and isinstance(value, ModuleType)
        super().__setattr__(name, getattr(value, name) if is_file else value)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{name}"), name)


sys.modules[__name__].__class__ = _Verbs
