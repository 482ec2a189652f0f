"""The model card."""

from typing import Any

import pytest

from regraft.reports.card import model_card
from sample_report import NAMES, sample_report, sample_report_of


def facts(kept: bool) -> dict[str, Any]:
    return {
        "task": {"kind": "classification", "classes": ["ants", "bees"]},
        "made_with": {"regraft": "0.1.0", "python": "3.11.7"},
        "facts": {"trained_on_examples": 244, "calibration": {"kept": kept}},
    }


def test_a_card_says_what_it_predicts_from_what_and_under_which_terms() -> None:
    report = sample_report()
    card = model_card(facts(kept=False), report)
    accuracy = report["evaluation"]["test"]["metrics"]["accuracy"]
    for said in (
        "Classes: ants, bees.",
        f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]",
        report["backbone"]["digest"],
        report["data"]["fingerprint"],
        "Terms of the weights: BSD-3-Clause",
        "244 examples of hymenoptera",
        "## Limits",
        "regraft.load(",
    ):
        assert said in card


@pytest.mark.parametrize(("kept", "said"), [(True, "Probabilities are calibrated"), (False, "are uncalibrated")])
def test_a_card_says_whether_probabilities_are_frequencies(kept: bool, said: str) -> None:
    assert said in model_card(facts(kept), sample_report())


def test_a_card_of_a_bare_report_is_still_a_card() -> None:
    card = model_card(facts(kept=False), {})
    assert "Nothing was measured" in card
    assert "## How to use it" in card


def test_random_weights_have_no_terms() -> None:
    report = sample_report()
    report["backbone"] |= {"weights": "random", "trained_on": "", "licence": "not stated", "source": ""}
    card = model_card(facts(kept=False), report)
    assert "Weights: drawn at random from the seed" in card
    assert "Terms of the weights" not in card


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "multilabel",
            ("each of 4 tags", "Tags: sunny, beach, a;b, people.", "Mean average precision", "answer.label"),
        ),
        (
            "ordinal",
            ("one of 4 classes in rising order", "Classes, lowest first: none, mild", "Mean distance in ranks"),
        ),
        ("regression", ("2 numbers", "Numbers: price, area\\_m2.", "units of price and area\\_m2", "answer.values")),
    ],
)
def test_a_card_says_what_kind_of_answer_is_given(kind: str, said: tuple[str, ...]) -> None:
    card = model_card({"task": {"kind": kind, "classes": list(NAMES[kind])}}, sample_report_of(kind))
    for one in said:
        assert one in card
    assert ("uncalibrated" in card) == (kind != "regression")
