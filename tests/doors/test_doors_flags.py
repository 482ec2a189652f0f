"""Words of the command line."""

import pytest

from regraft.doors._flags import seconds, settings
from regraft.errors import BadRecipe, BadRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("600", 600),
        ("90s", 90),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("1 h", 3600),
    ],
)
def test_durations_are_read_with_their_units(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "0", "10 parsecs", "-5m", "1.2.3", "m"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is not a valid duration"):
        seconds(text)


def test_settings_hold_what_was_used_and_set_wins() -> None:
    assert settings({"cut": "4e", "seed": None, "views": 0}, ["cut=5a", "options.lr=1e-3", "options.init=probe"]) == {
        "cut": "5a", "views": 0, "options.lr": 1e-3, "options.init": "probe",
    }  # fmt: skip
    with pytest.raises(BadRecipe, match="is not of the form path=value"):
        settings({}, ["lr"])
