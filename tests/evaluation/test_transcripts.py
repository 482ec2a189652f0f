"""Word and character error rates are those of jiwer, and of the definition."""

from functools import cache

import numpy as np
import pytest

from regraft.contracts.metric import main_metric, metric
from regraft.evaluation.metrics.transcripts import edits, normalised
from regraft.evaluation.report import evaluate

SAID = ("seven three five", "zero", "nine nine one two", "it's a test of words", "four six")
WROTE = ("seven three five", "", "nine one too two two", "its the test words", "six")


@pytest.mark.parametrize(
    ("name", "each", "all_"),
    [
        ("wer", (0.0, 1.0, 0.75, 0.6, 0.5), 0.5333333333333333),
        ("cer", (0.0, 1.0, 0.47058823529411764, 0.35, 0.625), 0.36923076923076925),
    ],
)
def test_the_rates_are_those_of_jiwer_4(name: str, each: tuple[float, ...], all_: float) -> None:
    rate = metric(name)
    assert rate.compute(SAID, WROTE) == pytest.approx(all_)
    assert [rate.compute([one], [other]) for one, other in zip(SAID, WROTE, strict=True)] == pytest.approx(list(each))
    assert not rate.higher_is_better
    assert main_metric("transcription").name == "wer"


def test_edits_are_the_fewest_of_all_ways() -> None:
    @cache
    def fewest(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        ways = (fewest(one[1:], other) + 1, fewest(one, other[1:]) + 1,
                fewest(one[1:], other[1:]) + (one[0] != other[0]))  # fmt: skip
        return min(ways)

    random = np.random.default_rng(0)
    for _ in range(60):
        one, other = ("".join(random.choice([*"abc"], random.integers(0, 7))) for _ in range(2))
        assert edits(one, other) == fewest(one, other)


def test_case_and_punctuation_do_not_count_and_letters_of_every_script_do() -> None:
    assert normalised(" Seven,  THREE – “five”! It’s 7. ") == "seven three five it's 7"
    assert normalised("Größe 今日は, е́ж") == "größe 今日は е́ж"
    assert metric("wer").compute(["Seven three."], ["seven, three"]) == 0


def test_intervals_are_over_clips_and_silence_alone_has_no_rate() -> None:
    random = np.random.default_rng(0)
    said = np.array(["one two three"] * 60, dtype=object)
    wrote = np.array([random.choice(["one two three", "one three", "two"]) for _ in said], dtype=object)
    found = evaluate(said, wrote, (), kind="transcription").metrics["wer"]
    assert found.low is not None
    assert found.high is not None
    assert 0.2 < found.low < found.value < found.high < 0.45
    assert np.isnan(metric("wer").compute([""], ["one"]))
