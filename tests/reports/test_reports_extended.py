"""What a page says of classes that were added."""

from dataclasses import replace

from regraft.reports.extended import sentence
from regraft.reports.page import markdown
from regraft.reports.report import Extension, KeptClasses
from regraft.reports.verdict import verdict
from regraft.values import Measured
from sample_report import changed, sample_report

EXTENSION = Extension(
    added=("moths",),
    old_model="ants",
    old_digest="abc",
    new_examples=30,
    old_examples=60,
    against="60 old examples (photos)",
    c=0.001,
    converged=True,
    temperature=1.25,
    max_loss=0.02,
    kept=KeptClasses(
        num_examples=40,
        standing="which the old model had not seen",
        before=0.9,
        after=0.875,
        change=Measured(value=-0.025, low=-0.07, high=0.01),
        called_new=Measured(value=0.05, low=0.014, high=0.165),
        num_called_new=2,
        missing=("wasps",),
    ),
)


def test_the_sentence_tells_before_and_after_with_the_interval_and_who_is_called_new() -> None:
    assert sentence(EXTENSION) == (
        "Added without retraining the rest: moths. On 40 old examples (which the old model had not seen) the accuracy "
        "was 0.900 before and is 0.875 now (-0.025 [-0.070, +0.010]); 2 of them are called a new class (0.050 [0.014, "
        "0.165])."
    )


def test_what_could_not_be_checked_is_said() -> None:
    assert "could not be checked: no old example was left" in sentence(replace(EXTENSION, kept=None))
    assert "No old example of wasps was there to check" in markdown(replace(sample_report(), extension=EXTENSION))


def test_a_report_without_an_extension_has_no_such_section() -> None:
    assert "## Added classes" not in markdown(sample_report())


def test_the_verdict_ends_with_the_extension_and_asks_for_no_probe() -> None:
    report = changed(replace(sample_report(), extension=EXTENSION, probe=None, paired=None), "strategy.name", "extend")
    assert verdict(report).endswith(sentence(EXTENSION))
    assert "probe" not in verdict(report)
