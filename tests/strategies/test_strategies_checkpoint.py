"""When training stops, and which epoch was the best."""

import pytest

from regraft.strategies._checkpoint import CRITERION, History


def history(*val_losses: float, epochs: int = 10, seconds: float = 1.0) -> History:
    curve = [{"loss": 1.0, CRITERION: loss, "seconds": seconds} for loss in val_losses]
    return History(epochs=epochs, curve=curve, seconds=seconds * len(curve))


def test_the_best_epoch_is_the_first_of_the_lowest_validation_losses() -> None:
    assert history(0.9, 0.5, 0.7, 0.5).best_epoch == 2


@pytest.mark.parametrize(("start", "best"), [(0.4, 0), (0.5, 0), (0.6, 2)])
def test_a_start_that_no_epoch_beats_is_the_best(start: float, best: int) -> None:
    begun = history(0.9, 0.5, 0.7)
    begun.start = {CRITERION: start}
    assert begun.best_epoch == best
    assert begun.reason_to_stop(3 - best, None) == "patience"


def test_without_validation_the_last_epoch_is_the_best() -> None:
    assert History(epochs=3, curve=[{"loss": 1.0, "seconds": 1.0}, {"loss": 2.0, "seconds": 1.0}]).best_epoch == 2


@pytest.mark.parametrize(
    ("losses", "patience", "reason"),
    [
        ((), 1, ""),
        ((0.5,), 1, ""),
        ((0.5, 0.6), 1, "patience"),
        ((0.5, 0.6), 2, ""),
        ((0.5, 0.6, 0.4, 0.41), 2, ""),
        ((0.5, 0.6, 0.4, 0.41, 0.4), 2, "patience"),
        ((0.5, 0.6, 0.7, 0.8), 0, ""),
    ],
)
def test_patience_counts_epochs_since_the_best(losses: tuple[float, ...], patience: int, reason: str) -> None:
    assert history(*losses).reason_to_stop(patience, None) == reason


def test_the_planned_epochs_end_it() -> None:
    assert history(0.5, 0.4, epochs=2).reason_to_stop(5, None) == "finished"


def test_an_epoch_that_would_pass_the_limit_is_not_begun_but_the_first_always_is() -> None:
    assert history(0.5, 0.4, seconds=10.0).reason_to_stop(5, 29.9) == "time"
    assert history(0.5, 0.4, seconds=10.0).reason_to_stop(5, 30.1) == ""
    assert history().reason_to_stop(5, 0.0) == ""


@pytest.mark.parametrize(("limit", "epochs"), [(5.0, 1), (10.0, 1), (60.0, 5), (1000.0, 10)])
def test_a_time_limit_shortens_the_plan_to_what_fits(limit: float, epochs: int) -> None:
    begun = history(0.5, seconds=10.0)
    assert begun.fit_into(limit) == (epochs < 10)
    assert begun.epochs == epochs
