"""Numbers as people read them."""

import pytest

from regraft.values import Measured, shown


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.9214, "0.921"), (0.0, "0.000"), (-9.9994, "-9.999"), (12.345, "12.35"), (123.45, "123.5"),
        (52341.6, "52,342"), (1234567.0, "1,234,567"), (0.0004, "4.00e-04"), (0.004, "0.004"),
    ],
)  # fmt: skip
def test_a_number_has_about_four_digits_whatever_its_unit(value: float, said: str) -> None:
    assert shown(value) == said


def test_numbers_shown_together_have_as_many_decimals_as_the_largest_allows() -> None:
    assert Measured(value=9.5, low=-2.25, high=1040.0).told() == "10 [-2, 1,040]"
    assert Measured(value=0.5, low=-0.25, high=0.75).told(signed=True) == "+0.500 [-0.250, +0.750]"
    assert str(Measured(value=52341.6, method="too few groups (4 < 10)")) == "52,342 (too few groups (4 < 10))"
