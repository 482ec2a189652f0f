"""The model card."""

from dataclasses import replace
from typing import Any

import pytest

from regraft.reports.page import model_card
from sample_report import changed, sample_report, sample_report_of

FACTS: dict[str, Any] = {
    "made_with": {"regraft": "0.1.0", "python": "3.11.7"},
    "facts": {"trained_on_examples": 244},
}


def test_a_card_says_what_it_predicts_from_what_and_under_which_terms() -> None:
    report = sample_report()
    card = model_card(FACTS, report)
    assert report.section
    for said in (
        "Classes: ants, bees.",
        report.section.headline.told(),
        report.backbone.digest,
        report.data.fingerprint,
        "Terms of the weights: BSD-3-Clause",
        "244 examples of hymenoptera",
        "## Limits",
        "regraft.load(",
    ):
        assert said in card


@pytest.mark.parametrize(("kept", "said"), [(True, "Probabilities are calibrated"), (False, "are uncalibrated")])
def test_a_card_says_whether_probabilities_are_frequencies(kept: bool, said: str) -> None:
    assert said in model_card(FACTS, changed(sample_report(), "calibration.kept", kept))


def test_a_card_of_a_model_that_was_not_evaluated_is_still_a_card() -> None:
    card = model_card({}, replace(sample_report(), evaluation={}))
    assert "Nothing was measured" in card
    assert "## How to use it" in card


def test_random_weights_have_no_terms() -> None:
    card = model_card(FACTS, changed(sample_report(), "backbone.weights", "random"))
    assert "Weights: random, drawn from the seed" in card
    assert "Terms of the weights" not in card


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "multilabel",
            ("each of 4 labels", "Labels: sunny, beach, a+b, people.", "Mean average precision", "prediction.label"),
        ),
        (
            "ordinal",
            ("one of 4 classes in rising order", "Classes, lowest first: none, mild", "Mean distance in ranks"),
        ),
        (
            "regression",
            ("2 numbers", "Targets: price, area\\_m2.", "units of price and area\\_m2", "prediction.values"),
        ),
    ],
)
def test_a_card_says_what_is_predicted(kind: str, said: tuple[str, ...]) -> None:
    card = model_card(FACTS, sample_report_of(kind))
    for one in said:
        assert one in card
    assert ("uncalibrated" in card) == (kind != "regression")
