"""What a run says where it trains otherwise than its options seem to say."""

from collections.abc import Generator
from typing import Any

import pytest

from problems import opened, problem
from regraft.strategies._steps import Unfreezing
from regraft.strategies.training import Training, new_tail, planned
from regraft.values import Notice

UNFREEZING = Unfreezing(stages=5, first=1, together=1, share=0.5, epochs=2)


@pytest.mark.parametrize(
    ("options", "unfreezing", "epochs", "why"),
    [
        ({"epochs": 3}, None, 50, "options.min_steps requires 150 steps (--set options.min_steps=0 turns this off)"),
        ({"epochs": 3, "min_steps": 0}, UNFREEZING, 9, "every stage must be unfrozen"),
        ({"epochs": 3, "min_steps": 0}, None, 3, ""),
        ({"epochs": 60}, UNFREEZING, 60, ""),
    ],
)
def test_epochs_that_give_way_to_something_else_are_said(
    options: dict[str, Any], unfreezing: Unfreezing | None, epochs: int, why: str
) -> None:
    asked, given = problem(opened("googlenet:tiny@random", 32), "5a", examples=90), Training(**options)
    notes, planning = (
        list[str](),
        planned(new_tail(asked, given, batch_norm="frozen"), asked, given, unfreezing=unfreezing),
    )

    def drained() -> Generator[Any, None, None]:
        assert (yield from planning).epochs == epochs

    for event in drained():
        notes += [event.text] if isinstance(event, Notice) else []
    assert notes == ([f"options.epochs is 3, but {why}: {epochs} epochs are planned."] if why else [])
