"""What scikit-learn calls X: paths, images, arrays and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from regraft.doors._inputs import in_brightness, inputs_in, range_of, rows_as_images


@pytest.mark.parametrize(
    "x",
    [
        ["a.png", "b/c.jpg"],
        [Path("a.png"), Path("b/c.jpg")],
        np.array(["a.png", "b/c.jpg"]),
        np.array([["a.png"], ["b/c.jpg"]], dtype=object),
        pd.Series(["a.png", "b/c.jpg"]),
        pd.DataFrame({"path": ["a.png", "b/c.jpg"]}),
    ],
    ids=["list", "list of Path", "array", "column of an array", "Series", "data frame"],
)
def test_paths_are_taken_from_whatever_holds_them(x: object) -> None:
    assert inputs_in(x) == [Path("a.png"), Path("b/c.jpg")]


def test_images_of_several_sizes_are_taken_one_by_one() -> None:
    given = [np.zeros((4, 5), np.uint8), np.zeros((6, 7, 3), np.uint8), Image.new("RGB", (3, 2))]
    found = inputs_in(given)
    assert found is not None
    assert all(one is other for one, other in zip(found, given, strict=True))


@pytest.mark.parametrize("shape", [(2, 8, 9), (2, 8, 9, 3)])
def test_an_array_of_images_is_one_image_per_first_index(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    found = inputs_in(x)
    assert found is not None
    assert np.array_equal(np.stack(found), x)


@pytest.mark.parametrize(
    "x", [np.zeros((3, 4)), [[1.0, 2.0], [3.0, 4.0]], pd.DataFrame({"a": [1.0], "b": [2.0]}), [], None, "a.png", 3]
)
def test_tables_and_what_is_unknown_are_left_to_scikit_learns_own_checks(x: object) -> None:
    assert inputs_in(x) is None


def test_rows_of_a_table_are_square_images_or_strips() -> None:
    square, strip = np.arange(18).reshape(2, 9), np.arange(10).reshape(2, 5)
    assert np.array_equal(rows_as_images(square)[1], [[9, 10, 11], [12, 13, 14], [15, 16, 17]])
    assert np.array_equal(rows_as_images(strip)[1], [[5, 6, 7, 8, 9]])


def test_numbers_become_brightness_by_the_range_that_was_learnt() -> None:
    assert range_of([np.array([[0.2, 0.9]])]) == (0.0, 1.0)
    assert range_of([np.array([[0, 16]]), np.array([[-4, 2]])]) == (-4.0, 16.0)
    assert range_of([np.zeros((2, 2), np.uint8), "a.png"]) is None
    (levels,) = in_brightness([np.array([[0.0, 8.0, 16.0, 99.0, -1.0]])], (0.0, 16.0))
    assert levels.tolist() == [[0, 128, 255, 255, 0]]
    assert levels.dtype == np.uint8
