"""Sizes as people write and read them."""

import pytest

from regraft.activations.disk import parse_size, sized
from regraft.errors import BadRequest


@pytest.mark.parametrize(
    ("written", "size"),
    [("20GB", 20 * 10**9), ("500 mb", 500 * 10**6), ("1.5GiB", 3 * 2**29), ("2k", 2000), ("1000", 1000), ("7B", 7)],
)
def test_sizes_are_read_as_people_write_them(written: str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "GB", "much", "-3GB", "20XB", "1 GB 2", "5i"])
def test_what_is_not_a_size_is_refused(written: str) -> None:
    with pytest.raises(BadRequest, match="not a size"):
        parse_size(written)


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (20 * 10**9, "20.0 GB")]
)
def test_sizes_are_told_in_decimal_units(size: int, told: str) -> None:
    assert sized(size) == told
