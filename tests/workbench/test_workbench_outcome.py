"""What a run says of its probabilities where they could not be calibrated."""

import pytest

from regraft.contracts.metric import Figures
from regraft.evaluation.report import Evaluation
from regraft.reports.report import Probe
from regraft.values import Measured
from regraft.workbench._evaluation import Results


def section(log_loss: Measured | None) -> Evaluation:
    return Evaluation(
        kind="classification", main_metric="accuracy", num_examples=9, num_groups=None, classes=("a", "b"),
        metrics={} if log_loss is None else {"log_loss": log_loss}, figures=Figures(),
    )  # fmt: skip


def evaluated(own: tuple[float, float | None] | None, probes: float | None) -> Results:
    """A run with these log losses: the model's with its interval's lower end, the probe's."""
    return Results(
        main="test", scores={}, evaluation={"test": section(own and Measured(value=own[0], low=own[1]))}, gaps=(),
        probe=Probe(evaluation=section(None if probes is None else Measured(value=probes))), paired=None,
        calibration=None,
    )  # fmt: skip


def test_a_model_surer_than_it_should_be_is_held_against_the_probe() -> None:
    text = evaluated((1.5, 1.09), 0.652).surer
    assert "log loss is 1.500, that of the linear probe 0.652" in text
    assert "--strategy probe" in text


@pytest.mark.parametrize(
    ("own", "probes"), [((0.7, 0.6), 0.652), ((0.5, 0.4), 0.652), ((1.5, None), 0.652), (None, None)]
)
def test_nothing_is_said_where_the_probe_is_no_better_beyond_chance(
    own: tuple[float, float | None] | None, probes: float | None
) -> None:
    assert evaluated(own, probes).surer == ""
