"""Every error a user can meet, as one family.

    RegraftError                     anything below, and nothing else is caught at a door
    ├── BadRequest                   the request is invalid
    │   ├── UnknownName              no such backbone, strategy, metric, column …
    │   ├── UnknownCut               the backbone has no such stage
    │   └── BadRecipe                a field is unknown, of the wrong kind or out of range
    ├── BadData                      the user's examples cannot be used as they are
    │   ├── DamagedData              too large a share of the files cannot be decoded
    │   ├── Undecodable              one input cannot be decoded
    │   └── LeakedSplit              the same content lies on both sides of a split
    ├── WeightsError                 pretrained weights are missing or do not match
    │   ├── WeightsMissing           out of reach: which file, and where to put it
    │   └── WeightsMismatch          these tensors are not this architecture's
    ├── BundleError                  a saved model is corrupt, changed or of another format
    │   └── ExportDiffers            an export does not predict what the model predicts
    ├── TrainingFailed               the loss is no longer a number
    ├── OutOfSpace                   the disk or the memory does not hold what the plan needs
    ├── MissingExtra                 an optional dependency is not installed
    └── RunError                     a run folder is in use, half-finished or another run's

A message says what was found and what was expected; `fix` says what to do. What a door makes of the classes, such as
exit codes, is the door's own.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RegraftError(Exception):
    """Something the user can mend; shown as one message without a traceback."""

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}"


class BadRequest(RegraftError):
    """The request is invalid."""


class UnknownName(BadRequest):
    """A name that is not on the shelf it was asked of."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"There is no {kind} named {name!r}.", fix=nearest(name, names))


class UnknownCut(BadRequest):
    """A cut that the backbone does not have."""

    def __init__(self, backbone: str, cut: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(
            f"{backbone} has no cut named {cut!r}; its cuts are {', '.join(names)}.", fix=nearest(cut, names)
        )


class BadRecipe(BadRequest):
    """A field of a recipe is unknown, of the wrong kind or out of range."""


class BadData(RegraftError):
    """The user's examples cannot be used as they are."""


class DamagedData(BadData):
    """Too large a share of the files cannot be decoded."""


class Undecodable(BadData):
    """One input that cannot be read; `reason` says why, in a clause without the input's name."""

    def __init__(self, reason: str, name: str = "The input") -> None:
        super().__init__(
            f"{name} cannot be decoded: {reason}.", fix="open it and save it again, or take it out of the data."
        )
        self.reason = reason


class LeakedSplit(BadData):
    """The same content lies on both sides of a split."""


class WeightsError(RegraftError):
    """Pretrained weights are missing or do not match."""


class WeightsMissing(WeightsError):
    """The weights are out of reach."""


class WeightsMismatch(WeightsError):
    """These tensors are not this architecture's."""


class BundleError(RegraftError):
    """A saved model is corrupt, changed or of another format."""


class ExportDiffers(BundleError):
    """An export does not predict what the model predicts; it is not written."""


class TrainingFailed(RegraftError):
    """The loss is not a number any more."""


class OutOfSpace(RegraftError):
    """The disk or the memory is too small for the plan."""


def out_of_memory(error: BaseException) -> bool:
    """Whether this is an allocator's error: Python's, torch's, ONNX Runtime's or the system's, which have no common
    class."""
    said = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


_NO_MEMORY = ("out of memory", "outofmemory", "allocate memory", "bad_alloc", "bad allocation", "not enough memory",
              "alloc_failed", "can't start new thread", "failed to map segment", "paging file")  # fmt: skip
"""What allocators say, in lower case. The last two are the system's, on Linux and on Windows, when a library does not
fit."""


class MissingExtra(RegraftError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed.",
                         fix=f"pip install 'regraft[{extra}]'")  # fmt: skip


class RunError(RegraftError):
    """A run folder is in use, half-finished or another run's."""


def nearest(name: str, known: list[str]) -> str:
    """The sentence that offers the nearest of `known`, or all of them.

    Of two characters one may be wrong (4f, 4e); of longer names about two in five, which is difflib's own measure.
    """
    if not known:
        return "leave it out; there is none to choose from."
    near = get_close_matches(name, known, n=1, cutoff=0.6 if len(name) > 2 else 0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}."
