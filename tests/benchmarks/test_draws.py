"""A few examples of every class, from as many patients as there are."""

import numpy as np
from _draws import drawn

TARGETS = np.repeat([0, 1], 60)
PATIENTS = np.arange(120) // 6
TRAIN = np.arange(120)


def test_every_class_gives_as_many_as_asked_for() -> None:
    chosen = drawn(TARGETS, PATIENTS, TRAIN, 7, 0)
    assert np.bincount(TARGETS[chosen]).tolist() == [7, 7]
    assert len(set(chosen.tolist())) == 14


def test_no_patient_gives_a_second_example_before_every_patient_gave_one() -> None:
    chosen = drawn(TARGETS, PATIENTS, TRAIN, 14, 3)
    counts = np.bincount(PATIENTS[chosen])
    assert len(counts) == 20
    assert set(counts.tolist()) == {1, 2}


def test_a_larger_draw_of_the_same_seed_holds_the_smaller() -> None:
    small, large = (set(drawn(TARGETS, PATIENTS, TRAIN, n, 5).tolist()) for n in (5, 20))
    assert small < large
    assert small != set(drawn(TARGETS, PATIENTS, TRAIN, 5, 6).tolist())


def test_nothing_but_training_examples_is_drawn_and_zero_means_all_of_them() -> None:
    train = TRAIN[TRAIN % 3 > 0]
    assert set(drawn(TARGETS, PATIENTS, train, 8, 0).tolist()) <= set(train.tolist())
    assert np.array_equal(drawn(TARGETS, PATIENTS, train, 0, 0), train)


def test_a_class_with_fewer_gives_all_it_has() -> None:
    chosen = drawn(TARGETS, PATIENTS, np.arange(50, 120), 30, 0)
    assert np.bincount(TARGETS[chosen]).tolist() == [10, 30]
