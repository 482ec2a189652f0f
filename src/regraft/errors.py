"""All errors shown to users, in one class hierarchy.

    RegraftError                     base class; interfaces catch nothing else
    ├── BadRequest                   the request is invalid
    │   ├── UnknownName              no such backbone, strategy, metric, column …
    │   ├── UnknownCut               the backbone has no such stage
    │   └── BadRecipe                a field is unknown, of the wrong type or out of range
    ├── BadData                      the user's examples cannot be used as they are
    │   ├── DamagedData              too large a share of the files cannot be decoded
    │   ├── Undecodable              one input cannot be decoded
    │   └── LeakedSplit              the same content is in two splits
    ├── WeightsError                 pretrained weights are missing or do not match
    │   ├── WeightsMissing           out of reach: which file, and where to put it
    │   └── WeightsMismatch          these tensors are not this architecture's
    ├── BundleError                  a saved model is corrupt, changed or of another format
    │   └── ExportDiffers            an export does not predict what the model predicts
    ├── TrainingFailed               the loss is not finite
    ├── OutOfSpace                   the disk or the memory does not hold what the plan needs
    ├── MissingExtra                 an optional dependency is not installed
    └── RunError                     a run folder is in use, half-finished or another run's

A message says what was found and what was expected; `fix` says what to do. Each interface maps the classes to its own
codes, such as exit codes.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RegraftError(Exception):
    """An error the user can fix; shown as one message without a traceback."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}"


class BadRequest(RegraftError):
    """The request is invalid."""


class UnknownName(BadRequest):
    """There is nothing of this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"There is no {kind} named {name!r}.", fix=nearest(name, names))


class UnknownCut(BadRequest):
    """The backbone has no such cut."""

    def __init__(self, backbone: str, cut: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(
            f"{backbone} has no cut named {cut!r}; its cuts are {', '.join(names)}.", fix=nearest(cut, names)
        )


class BadRecipe(BadRequest):
    """A field of a recipe is unknown, of the wrong type or out of range."""


class BadData(RegraftError):
    """The user's examples cannot be used as they are."""


class DamagedData(BadData):
    """Too large a share of the files cannot be decoded."""


class Undecodable(BadData):
    """An input cannot be read; `reason` says why, in a clause without the input's name."""

    def __init__(self, reason: str, name: str = "The input") -> None:
        super().__init__(
            f"{name} cannot be decoded: {reason}.", fix="open it and save it again, or remove it from the data."
        )
        self.reason = reason


class LeakedSplit(BadData):
    """The same content is in two splits."""


class WeightsError(RegraftError):
    """Pretrained weights are missing or do not match."""


class WeightsMissing(WeightsError):
    """The weights are not available."""


class WeightsMismatch(WeightsError):
    """The tensors do not match the architecture."""


class BundleError(RegraftError):
    """A saved model is corrupt, changed or of another format."""


class ExportDiffers(BundleError):
    """An export predicts differently from the model; it is not written."""


class TrainingFailed(RegraftError):
    """The loss is not finite."""


class OutOfSpace(RegraftError):
    """There is not enough disk space or memory."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory, whether from Python, torch, ONNX Runtime or the system (they have no
    common class)."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


_NO_MEMORY = ("out of memory", "outofmemory", "allocate memory", "bad_alloc", "bad allocation", "not enough memory",
              "alloc_failed", "can't start new thread", "failed to map segment", "paging file")  # fmt: skip
"""Fragments of allocators' error messages, in lower case. The last two come from the system, on Linux and on Windows,
when a library does not fit in memory."""


class MissingExtra(RegraftError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed.",
                         fix=f"pip install 'regraft[{extra}]'")  # fmt: skip


class RunError(RegraftError):
    """A run folder is in use, unfinished, or belongs to another run."""


def nearest(name: str, known: list[str]) -> str:
    """Return a sentence that suggests the closest of the `known` names, or lists all of them.

    In a name of two characters one may differ (4f, 4e); in longer names about two in five, the default of difflib.
    """
    if not known:
        return "leave it out: none is available."
    near = get_close_matches(name, known, n=1, cutoff=0.6 if len(name) > 2 else 0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}."
