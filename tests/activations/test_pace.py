"""The pace of work: what is done once is not counted."""

from regraft.activations.batches import Pace


def test_the_first_batch_of_a_pass_tells_nothing_and_the_others_tell_the_rest() -> None:
    times = iter([100.0, 110.0, 112.0, 113.0, 123.0, 124.0])
    pace = Pace(100, clock=lambda: next(times))
    seen = []
    for units in (10, 10, 10):
        pace.step(units)
        seen.append((pace.done, pace.seconds, pace.seconds_left))
    assert seen == [(10, 10.0, None), (20, 12.0, 16.0), (30, 13.0, 10.5)]
    pace.begin_pass()
    pace.step(10)
    assert (pace.seconds, pace.seconds_left) == (23.0, 9.0)
    pace.step(60)
    assert (pace.seconds, pace.seconds_left) == (24.0, 0.0)


def test_work_that_is_done_has_nothing_left_however_little_was_timed() -> None:
    pace = Pace(5)
    assert pace.seconds_left is None
    pace.step(5)
    assert pace.seconds_left == 0
