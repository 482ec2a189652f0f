"""What a training run has behind it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from regraft.strategies._phases import Phases

CRITERION = "val_loss_rescaled"
"""What decides which epoch is kept: the validation loss after the best temperature. What is trained too long becomes
overconfident long before its answers get worse; the plain loss would stop there, and calibration mends it afterwards.
Source: Berta et al. 2025, arXiv:2501.19195 (refine, then calibrate); docs/results/criterion.md."""


@dataclass(kw_only=True)
class History:
    """All that a run goes on from beside the weights and the optimiser's state."""

    epochs: int
    """Epochs planned; a time limit may make them fewer than the schedule's."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was settled before the first epoch, as JSON."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """One record per finished epoch."""
    start: dict[str, float] = field(default_factory=dict)
    """Validation before the first epoch, where the start is a model in its own right (a solved head); else empty."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The tail's tensors at the lowest validation loss; empty without validation examples."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """The average of the tail's tensors over the steps so far, where one is kept; else empty."""
    seconds: float = 0.0
    """Wall seconds spent up to the last epoch's end, interruptions left out."""

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, of the lowest validation loss after rescaling (the first of equals); else the last
        one. 0 is the start, where that was validated."""
        if not self.curve or CRITERION not in self.curve[0]:
            return len(self.curve)
        losses = {number: record[CRITERION] for number, record in enumerate(self.curve, 1)}
        if self.start:
            losses = {0: self.start[CRITERION], **losses}
        return min(losses, key=losses.__getitem__)

    def reason_to_stop(self, patience: int, max_seconds: float | None, phases: Phases | None = None) -> str:
        """`finished`, `patience` or `time`; empty where another epoch is due. The first always is. Patience runs from
        the best epoch on, or from the last phase's begin where that is later."""
        done = len(self.curve)
        if done >= self.epochs:
            return "finished"
        if patience and done - max(self.best_epoch, phases.last(self.epochs) if phases else 0) >= patience:
            return "patience"
        if max_seconds is not None and done:
            usual = sum(record["seconds"] for record in self.curve) / done
            return "time" if self.seconds + usual > max_seconds else ""
        return ""

    def fit_into(self, max_seconds: float) -> bool:
        """After the first epoch: plan as many epochs as nine tenths of the time left hold; True where fewer."""
        more = int(0.9 * (max_seconds - self.seconds) / max(self.curve[0]["seconds"], 1e-9))
        fewer = 1 + max(0, more) < self.epochs
        self.epochs = min(self.epochs, 1 + max(0, more))
        return fewer
