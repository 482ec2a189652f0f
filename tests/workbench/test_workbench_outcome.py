"""What a run says of its probabilities where they could not be calibrated."""

from typing import Any

import pytest

from regraft.workbench._outcome import Evaluated, _surer


def evaluated(own: tuple[float, float | None] | None, probes: float | None) -> Evaluated:
    """A run with these log losses: the model's with its interval's lower end, the probe's."""

    def section(value: float | None, low: float | None) -> dict[str, Any]:
        return {"metrics": {} if value is None else {"log_loss": {"value": value, "low": low}}}

    probe = {"evaluation": section(probes, None)}
    return Evaluated(
        main="test", parts={}, sections={"test": section(*(own or (None, None)))}, gaps=[], probe=probe, paired=None,
        calibration=None,
    )  # fmt: skip


def test_a_model_surer_than_it_should_be_is_held_against_the_probe() -> None:
    text = _surer(evaluated((1.5, 1.09), 0.652))
    assert "log loss is 1.500, the linear probe's 0.652" in text
    assert "--strategy probe" in text


@pytest.mark.parametrize(
    ("own", "probes"), [((0.7, 0.6), 0.652), ((0.5, 0.4), 0.652), ((1.5, None), 0.652), (None, None)]
)
def test_nothing_is_said_where_the_probe_is_no_better_beyond_chance(
    own: tuple[float, float | None] | None, probes: float | None
) -> None:
    assert _surer(evaluated(own, probes)) == ""
