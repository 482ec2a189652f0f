"""The page of a study and its plots."""

import copy
from typing import Any
from xml.etree import ElementTree

import pytest

from regraft.reports.lab import command, page
from regraft.reports.lab_plots import plots


def measured(value: float, half: float | None = 0.02) -> dict[str, Any]:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "level": 0.95, "method": "t over seeds and examples"}


def effect(name: str, measure: str, value: float, **changes: Any) -> dict[str, Any]:
    return {"name": name, "measure": measure, "plus": "all", "minus": "one | two", "size": 200, "above": 0.0,
            "worth": 0.01, "key": True, "difference": measured(value), "num_seeds": 3, "resolved": "as claimed",
            **changes}  # fmt: skip


def arm(name: str, accuracy: float, sizes: tuple[int, ...]) -> dict[str, Any]:
    figures = [
        {"size": size, "seeds": [0, 1, 2], "train_accuracy": 0.9, "losses": [2.0, 1.5], "accuracy": measured(accuracy),
         "gap": measured(0.9 - accuracy), "transfer": None, "signal": measured(-0.5, 0.1)}
        for size in sizes
    ]  # fmt: skip
    return {"name": name, "title": f"the {name}", "same": "width", "options": {}, "width": 0.5, "stem_width": 0.5,
            "parameters": 1_511_460, "side_parameters": 0, "multiply_adds": 34_697_216, "seconds": 81.0,
            "figures": figures}  # fmt: skip


REPORT: dict[str, Any] = {
    "study": "scales",
    "title": "Filters of several sizes",
    "claim": "More is more.",
    "source": "Szegedy et al. 2014",
    "measurement": "Two networks.",
    "setting": {"name": "small", "steps": 1500, "batch": 16, "half": False, "lr": 0.001, "seeds": 3, "input_px": 64},
    "machine": "a machine",
    "data": {"name": "corpus", "given": False, "fingerprint": "0a1b", "classes": ["a", "b"], "test": 100,
             "other_classes": [], "probe_train": 0, "probe_test": 0},
    "sizes": [200],
    "arms": [arm("all", 0.5, (200,)), arm("one | two", 0.4, (200,))],
    "effects": [
        effect("against one", "accuracy", 0.1),
        effect("saved", "parameters", 3.162, size=None, above=2.0, difference=measured(3.162, None)),
        effect("below", "signal", 0.2, resolved="open"),
        effect("aside", "gap", -0.1, key=False, resolved="not here"),
        effect("missing", "accuracy", 0.0, difference=None, num_seeds=0, resolved="not run"),
    ],
    "outcome": "in part",
    "verdict": "Part of it is so.",
    "gradients": {},
    "failed": [{"cell": "one | two, 200 a class, seed 2", "message": "The loss became nan."}],
    "not_run": ["all, 20 a class, seed 0"],
    "num_cells": 7,
    "measures": {"accuracy": "share right", "parameters": "counted", "signal": "below against above", "gap": "gap"},
}  # fmt: skip


def line(text: str, start: str) -> list[str]:
    return next(
        [cell.strip() for cell in one.split(" | ")] for one in text.splitlines() if one.startswith(f"| {start}")
    )


def test_the_page_gives_verdict_claim_effects_costs_and_what_is_missing() -> None:
    text = page(REPORT, ["lab_scales_effects.svg"])
    assert "**Verdict: in part.** Part of it is so." in text
    assert "More is more." in text
    assert "Szegedy et al. 2014" in text
    assert "![Differences of two arms with 95 % intervals](lab_scales_effects.svg)" in text
    assert "The loss became nan." in text
    assert "1 of 7 cells were not run" in text
    assert "34,697,216" in text
    assert "regraft lab scales --seeds 3 --out runs/lab/scales" in text


@pytest.mark.parametrize(("least", "most", "told"), [(0.34, 0.54, True), (0.34, 0.95, False)])
def test_the_page_says_where_training_was_too_short_for_every_arm(least: float, most: float, told: bool) -> None:
    arms = [arm("all", 0.5, (200, 20)), arm("one", 0.4, (200, 20))]
    for one, accuracy in zip(arms, (least, most), strict=True):
        for figures in one["figures"]:
            figures["train_accuracy"] = accuracy
    text = " ".join(page({**REPORT, "arms": arms}).split())
    assert ("No arm is trained out: by the end they are right about 0.340 to 0.540" in text) == told
    assert ("how far each comes in these steps" in text) == told


def test_every_effect_is_told_with_its_interval_and_whether_it_is_as_claimed() -> None:
    text = page(REPORT)
    assert line(text, "against one")[3:] == ["200", "+0.100 [+0.080, +0.120]", "above 0", "below 0.01", "as claimed |"]
    assert line(text, "saved")[3:] == ["–", "3.162 times", "above 2 times", "2 times or less", "as claimed |"]
    assert line(text, "below")[-1] == "not resolved |"
    assert line(text, "aside")[-2:] == ["–", "below 0 |"]
    assert line(text, "aside")[-3] == "–"
    assert line(text, "missing")[4] == "not run"


def test_a_bar_in_a_name_breaks_no_table() -> None:
    rows = [one for one in page(REPORT).splitlines() if "one \\| two" in one and one.startswith("|")]
    assert rows
    assert all(one.replace("\\|", "").count("|") in (7, 8, 9) for one in rows)


@pytest.mark.parametrize("name", ["long", "full"])
def test_the_command_names_what_differs_from_the_default(name: str) -> None:
    asked = copy.deepcopy(REPORT)
    asked["setting"]["name"], asked["data"]["given"], asked["setting"]["seeds"] = name, True, 5
    assert command(asked) == f"regraft lab scales --data FOLDER --{name} --seeds 5 --out runs/lab/scales-{name}"


@pytest.mark.parametrize("sizes", [(200,), (200, 50, 20)])
def test_plots_are_drawings_the_same_bytes_for_the_same_numbers(sizes: tuple[int, ...]) -> None:
    report = copy.deepcopy(REPORT)
    report["sizes"] = list(sizes)
    report["arms"] = [arm("all", 0.5, sizes), arm("one", 0.4, sizes)]
    report["gradients"] = {"all": {"stem": [0.0, 0.1], "3a": [0.0, 0.2], "3b": [0.0, 0.3]}}
    drawn = plots(report)
    assert list(drawn) == ["effects", "accuracy", "losses", "gradients"]
    assert plots(report) == drawn
    for text in drawn.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_nothing_is_drawn_of_a_study_without_rows() -> None:
    bare = copy.deepcopy(REPORT)
    for one in bare["effects"]:
        one["difference"] = None
    for one in bare["arms"]:
        one["figures"], one["seconds"] = [], None
    assert plots(bare) == {}
    assert "not run" in page(bare)
