"""Whether a model that learned new classes still knows the old ones: asked before it is written.

Letters in shapes: n old examples, o old classes, c classes, old ones first.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.errors import BadData
from regraft.evaluation.differences import compare
from regraft.evaluation.intervals import share
from regraft.values import Measured


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The old classes before and after."""

    num_examples: int
    """Old examples kept back from learning, that this rests on."""
    standing: str
    """What these are to the old model, as a clause."""
    before: float
    """Accuracy of the old model on them."""
    after: float
    """Accuracy of the new model on them, a new class being wrong."""
    change: Measured
    """After less before, paired by example."""
    called_new: Measured
    """Share of them that is now called one of the new classes."""
    num_called_new: int
    """How many that are."""
    missing: tuple[str, ...]
    """Old classes without an example among them."""

    @property
    def lost(self) -> float:
        """What was lost of the accuracy, 0 or more."""
        return max(0.0, self.before - self.after)


def kept(
    targets: Int[np.ndarray, "n"],
    before: Float[np.ndarray, "n o"],
    after: Float[np.ndarray, "n c"],
    *,
    old_classes: tuple[str, ...],
    standing: str,
    groups: Shaped[np.ndarray, "n"] | None,
    seed: int,
) -> Kept:
    """Compare two models' probabilities of the same old examples; intervals are by group where there are groups."""
    num_old = before.shape[1]
    padded = np.pad(before, ((0, 0), (0, after.shape[1] - num_old)))
    found = compare(targets, after, padded, groups=groups, names=("the new model", "the old one"), seed=seed)
    called_new = after.argmax(axis=1) >= num_old
    return Kept(
        num_examples=len(targets),
        standing=standing,
        before=found.b,
        after=found.a,
        change=found.difference,
        called_new=share(called_new, np.ones(len(targets), dtype=bool), groups=groups, seed=seed),
        num_called_new=int(called_new.sum()),
        missing=tuple(name for at, name in enumerate(old_classes) if not (targets == at).any()),
    )


def check_kept(found: Kept, added: tuple[str, ...], max_loss: float) -> None:
    """
    Raises:
        BadData: more of the old classes' accuracy is lost than `max_loss`.
    """
    if found.lost <= max_loss:
        return
    low, high = found.change.low, found.change.high
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    raise BadData(
        f"With {', '.join(added)} added, the accuracy on {found.num_examples} old examples falls from "
        f"{found.before:.3f} to {found.after:.3f} ({found.change.value:+.3f}{interval}), by more than the "
        f"{max_loss:g} allowed; {found.num_called_new} of them are now called a new class. Nothing was written.",
        fix=f"give more examples (of the new class, or of the old ones it is taken for), train anew on all of them "
        f"(regraft fit), or accept it: --max-loss {np.ceil(100 * found.lost - 1e-9) / 100:g}.",
    )
