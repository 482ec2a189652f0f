"""What a page says of classes that were added."""

from regraft.reports.extended import section, sentence
from regraft.reports.verdict import verdict

KEPT = {
    "num_examples": 40,
    "standing": "which the old model had not seen",
    "before": 0.9,
    "after": 0.875,
    "change": {"value": -0.025, "low": -0.07, "high": 0.01},
    "called_new": {"value": 0.05, "low": 0.014, "high": 0.165},
    "num_called_new": 2,
    "missing": ["wasps"],
}
EXTENDED = {
    "added": ["moths"],
    "old_model": {"name": "ants", "digest": "abc"},
    "new_examples": 30,
    "against": "60 old examples (photos)",
    "c": 0.001,
    "converged": True,
    "temperature": 1.25,
    "kept": KEPT,
}


def test_the_sentence_tells_before_and_after_with_the_interval_and_who_is_called_new() -> None:
    assert sentence(EXTENDED) == (
        "Added without retraining the rest: moths. On 40 old examples (which the old model had not seen) the accuracy "
        "was 0.900 before and is 0.875 now (-0.025 [-0.070, +0.010]); 2 of them are called a new class (0.050 [0.014, "
        "0.165])."
    )


def test_what_could_not_be_checked_is_said() -> None:
    assert "could not be checked: no old example was left" in sentence({**EXTENDED, "kept": None})
    assert "No old example of wasps was there to check" in section({"extended": EXTENDED})


def test_a_report_without_an_extension_has_no_such_section() -> None:
    assert section({}) == ""


def test_the_verdict_ends_with_the_extension_and_asks_for_no_probe() -> None:
    report = {"main": "test", "evaluation": {"test": {"num_examples": 5, "classes": ["a"], "metrics": {}}},
              "strategy": {"name": "extend"}, "extended": EXTENDED}  # fmt: skip
    assert verdict(report).endswith(sentence(EXTENDED))
    assert "probe" not in verdict(report)
