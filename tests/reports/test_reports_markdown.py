"""The page of a run, and the sentences it opens with."""

import re
from typing import Any

import numpy as np
import pytest

from regraft.reports.limits import not_verified
from regraft.reports.markdown import render, render_test
from regraft.reports.verdict import main_figure, main_section, verdict
from regraft.values import Measured
from sample_report import NAMES, sample_report, sample_report_of

HEADINGS = (
    "The figures", "Class by class", "What is taken for what", "Can the probabilities be trusted?",
    "Where to draw the line", "How much was learned by heart", "The data", "What was frozen, what was trained",
    "Stored activations", "Time and memory", "To make it again", "What was not verified",
)  # fmt: skip


def headings(page: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^## (.*)$", page, flags=re.MULTILINE))


def test_a_page_opens_with_the_figure_and_its_interval_and_has_every_part() -> None:
    report = sample_report()
    page = render(report)
    accuracy = report["evaluation"]["test"]["metrics"]["accuracy"]
    figure = f"Accuracy {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] on 153 test examples"
    assert page.splitlines()[2].startswith(f"**{figure}")
    assert headings(page) == HEADINGS


def test_every_number_of_the_main_table_stands_beside_that_of_the_probe() -> None:
    report = sample_report()
    page = render(report)
    ours, probe = report["evaluation"]["test"]["metrics"], report["probe"]["evaluation"]["metrics"]
    row = next(line for line in page.splitlines() if line.startswith("| Log loss (lower is better)"))
    assert [cell.strip().split()[0] for cell in row.split("|")[2:4]] == [
        f"{one['log_loss']['value']:.3f}" for one in (ours, probe)
    ]
    assert report["paired"]["verdict"] in page


def test_tables_are_rectangular() -> None:
    alone = sample_report(main="cross-validation") | {"probe": None, "paired": None}
    several = [("ants", "bees"), ("a|b", "c", "d"), tuple(f"class {i}" for i in range(50))]
    kinds = [sample_report_of(kind, main=main) for kind in NAMES for main in ("test", "cross-validation")]
    for page in map(render, [alone, *(sample_report(classes=classes, n=300) for classes in several), *kinds]):
        for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, block


def test_an_empty_report_still_gives_a_page_that_says_what_is_unknown() -> None:
    page = render({})
    assert "Nothing was measured" in page
    assert "What was not verified" in page


@pytest.mark.parametrize(
    "missing", ["probe", "paired", "calibration", "store", "phases", "environment", "gaps", "data", "strategy", "run"]
)
def test_a_report_without_one_part_renders_the_others(missing: str) -> None:
    report = sample_report() | {missing: None}
    found = headings(render(report))
    lost = {"store": {"Stored activations"}, "gaps": {"How much was learned by heart"}, "data": {"The data"}}
    assert set(HEADINGS) - set(found) == lost.get(missing, set())


def test_numbers_that_are_not_defined_are_shown_as_such() -> None:
    report = sample_report()
    report["evaluation"]["test"]["metrics"]["auroc"] = {
        "value": None, "low": None, "high": None, "level": 0.95, "method": "undefined: a class has no example",
    }  # fmt: skip
    row = next(line for line in render(report).splitlines() if line.startswith("| AUROC"))
    assert row.split("|")[2].strip() == "–"
    assert "undefined: a class has no example (AUROC)" in render(report)


def test_names_with_signs_of_markdown_are_shown_as_they_are() -> None:
    page = render(sample_report(classes=("Tomato___blight", "x|y<b>"), n=40))
    assert "Tomato\\_\\_\\_blight" in page
    assert "x\\|y&lt;b>" in page


def test_cross_validation_leads_with_the_mean_of_the_folds() -> None:
    report = sample_report(main="cross-validation")
    assert main_figure(main_section(report)) == report["evaluation"]["cross_validation"]["mean_of_folds"]
    assert verdict(report).startswith("Accuracy 0.910 [0.860, 0.960] by 5-fold cross-validation, repeated 4 times,")
    page = render(report)
    assert "| Accuracy, mean of the folds | 0.910 [0.860, 0.960] | 0.910 [0.860, 0.960] |" in page
    assert "Accuracy, pooled" in page
    assert any("never tested" in sentence for sentence in not_verified(report))


def test_a_guess_is_the_share_of_the_most_frequent_class() -> None:
    report = sample_report()
    support = {one["name"]: one["support"] for one in report["evaluation"]["test"]["per_class"]}
    top = max(support, key=lambda name: support[name])
    assert f"Always answering {top} would score {support[top] / 153:.3f}." in verdict(report)


def test_a_probe_says_that_it_is_one() -> None:
    report = sample_report() | {"probe": None, "paired": None}
    report["strategy"] = report["strategy"] | {"name": "probe", "preset": "probe", "curve": []}
    assert "This is the linear probe" in verdict(report)
    assert "linear probe |" not in render(report)


def test_what_was_not_verified_follows_from_the_report() -> None:
    report = sample_report()
    without = not_verified(report)
    assert any("--group-column" in sentence for sentence in without)
    assert any("uncalibrated" in sentence for sentence in without)
    report["data"]["groups"] = 31
    report["calibration"] = report["calibration"] | {"kept": True}
    report["backbone"]["weights"] = "random"
    with_more = not_verified(report)
    assert len(with_more) == len(without) - 3
    assert not any("source data" in sentence for sentence in with_more)


def test_the_kept_epoch_is_marked_and_long_curves_are_thinned() -> None:
    page = render(sample_report())
    epochs = re.findall(r"^\| (\d+)( \(kept\))? \|", page, flags=re.MULTILINE)
    assert [number for number, kept in epochs if kept] == ["16"]
    assert epochs[0][0] == "1"
    assert epochs[-1][0] == "20"
    assert len(epochs) <= 13


def test_a_regulariser_is_named_with_the_weight_that_was_used_and_its_part_of_the_loss() -> None:
    report = sample_report()
    assert "egulariser" not in render(report)
    strategy = report["strategy"]
    strategy["facts"]["regulariser"] = {"name": "co_tuning", "weight": 2.3, "relationship": "reverse"}
    strategy["curve"] = [record | {"regulariser": 0.125} for record in strategy["curve"]]
    page = render(report)
    assert "| Regulariser | `co_tuning`, weight 2.3 |" in page
    assert re.search(r"^\| 1 \| 0\.\d+ \| 0\.125 \|", page, flags=re.MULTILINE)
    assert "of it, the regulariser's" in page


def test_a_rescaled_loss_is_told_only_where_it_is_another() -> None:
    report = sample_report()
    assert "the same, rescaled" in render(report)
    for row in report["strategy"]["curve"]:
        row["val_loss_rescaled"] = row["val_loss"]
    assert "the same, rescaled" not in render(report)
    assert "validation loss | validation accuracy" in render(report)


def test_pictures_are_shown_only_when_they_are_there() -> None:
    report = sample_report()
    assert "](" not in render(report)
    assert "![Loss by epoch](curve.svg)" in render(report, ["curve.svg"])


def test_damaged_files_are_all_named_up_to_fifty() -> None:
    report = sample_report()
    report["data"]["quarantined"] = [{"id": f"bad{i}.jpg", "reason": "cut short"} for i in range(60)]
    page = render(report)
    assert page.count("| cut short |") == 50
    assert "… and 10 more in report.json." in page


def later_test() -> dict[str, Any]:
    """The report of a test that a finished model was put to."""
    report = sample_report()
    model = {"name": "ants", "path": "runs/ants", "strategy": "partial", "cut": "4e", "trained_on_examples": 244,
             "main": "cross-validation", "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}}  # fmt: skip
    data = {"name": "site b", "examples": 153, "classes": ["ants", "bees"], "notes": [], "quarantined": []}
    kept = {name: report[name] for name in ("regraft", "run", "main", "evaluation", "calibration", "backbone")}
    return {**kept, "model": model, "data": data}


def test_a_model_put_to_a_test_later_has_a_verdict_without_a_probe() -> None:
    report = later_test()
    said = verdict(report)
    accuracy = report["evaluation"]["test"]["metrics"]["accuracy"]
    assert said.startswith(f"Accuracy {accuracy['value']:.3f} [")
    assert "on 153 test examples of 2 classes" in said
    assert "probe" not in said


def test_the_page_of_a_later_test_tells_the_model_and_leaves_out_how_it_was_trained() -> None:
    page = render_test(later_test() | {"abstain": {"refused": 3, "evaluation": None}}, ["confusion.svg"])
    assert page.startswith("# ants tested on site b\n")
    assert "3 examples refused" in page
    assert headings(page) == (*HEADINGS[:5], "The data", "The model", "What was not verified")
    assert "| Accuracy when it was made | 0.900 [0.800, 0.950] (cross-validation) |" in page
    assert "![What is taken for what](confusion.svg)" in page
    assert "near copies of them, were trained on was not looked at" in page
    assert "The parts are" not in page


def test_a_path_of_data_that_is_not_absolute_is_said_to_depend_on_where_one_is() -> None:
    report = sample_report()
    assert "`photos`, starts at the folder that the run was started in." in render(report)
    report["recipe"]["data"] = "/data/photos"
    assert "starts at the folder" not in render(report)


OWN = {
    "multilabel": ("Tag by tag", "Can the probabilities be trusted?"),
    "ordinal": ("Class by class", "What is taken for what", "Can the probabilities be trusted?"),
    "regression": ("Number by number",),
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_page_of_every_kind_opens_with_its_own_figure_and_has_its_own_parts(kind: str) -> None:
    report = sample_report_of(kind)
    page = render(report)
    section = report["evaluation"]["test"]
    main = Measured(**section["metrics"][section["main_metric"]])
    title = {"multilabel": "Mean average precision", "ordinal": "Mean distance in ranks", "regression": "Mean absolute"}
    assert page.splitlines()[2].startswith(f"**{title[kind]}")
    assert main.told() in page.splitlines()[2]
    assert headings(page) == (HEADINGS[0], *OWN[kind], *HEADINGS[5:])
    assert "ccuracy: train" not in page
    assert report["paired"]["verdict"].replace("_", "\\_") in page


def test_numbers_are_told_with_their_names_and_units_everywhere() -> None:
    one, two = sample_report_of("regression", num_outputs=1), sample_report_of("regression")
    assert " in the unit of price on 153 test examples. Always answering the training median, " in verdict(one)
    assert verdict(one).endswith(" in the unit of price.")
    page = render(two)
    assert "| Mean absolute error in the units of price and area\\_m2 (lower is better) |" in page
    assert "397 examples with the numbers price and area\\_m2." in page
    assert "mean absolute error grows by" in page
    assert "where the units differ" in page
    assert "training median |" in page
    assert not any("probabilities" in sentence for sentence in not_verified(one))


def test_a_guess_is_what_fits_the_question() -> None:
    tags, ranks = sample_report_of("multilabel"), sample_report_of("ordinal")
    shares = [one["support"] / 153 for one in tags["evaluation"]["test"]["per_tag"]]
    assert f"Ranking at random would score {sum(shares) / len(shares):.3f}." in verdict(tags)
    support = np.array([one["support"] for one in ranks["evaluation"]["test"]["per_class"]])
    by_answer = [(support * np.abs(np.arange(4) - at)).sum() / 153 for at in range(4)]
    best = NAMES["ordinal"][int(np.argmin(by_answer))]
    assert f"Always answering {best} would score {min(by_answer):.3f}." in verdict(ranks)


def test_a_tag_that_was_not_seen_has_no_figures_and_many_tags_show_the_worst() -> None:
    report = sample_report_of("multilabel")
    tags = report["evaluation"]["test"]["per_tag"]
    tags[0]["average_precision"] = dict.fromkeys(("value", "low", "high")) | {"method": "undefined"}
    assert "| sunny | 28 | 41 | – |" in render(report)
    report["evaluation"]["test"]["per_tag"] = [tags[0], *([tags[1]] * 40), *([tags[3]] * 10)]
    page = render(report)
    assert "The 40 tags of 51 that are ranked worst" in page
    assert page.count("| beach | 53 | 51 |") == 40
    assert "| sunny | 28 | 41 |" not in page


def test_tags_have_thresholds_of_their_own_where_some_were_chosen() -> None:
    report = sample_report_of("multilabel")
    point = report["evaluation"]["test"]["per_tag"][1]["chosen"]
    page = render(report)
    assert f"| beach | {point['threshold']:.3f} | {point['sensitivity']['value']:.3f} [" in page
    for one in report["evaluation"]["test"]["per_tag"]:
        one["chosen"] = None
    assert "| threshold |" not in render(report)


def test_a_later_test_of_another_kind_tells_its_own_metric() -> None:
    report = later_test() | {"evaluation": sample_report_of("regression")["evaluation"]}
    report["model"]["metrics"] = {"mae": {"value": 3.5, "low": 3.0, "high": 4.0}}
    assert "| Mean absolute error when it was made | 3.500 [3.000, 4.000] (cross-validation) |" in render_test(report)
    refused = render_test(report | {"abstain": {"refused": 3, "evaluation": report["evaluation"]["test"]}})
    assert "3 examples refused, mean absolute error 2" in refused


def test_the_probe_beside_random_weights_is_told_from_one_of_pretrained_features() -> None:
    report = sample_report()
    assert "random features" not in verdict(report)
    drawn = report | {"backbone": {**report["backbone"], "weights": "random"}}
    assert verdict(drawn).startswith(verdict(report))
    assert "random features" in verdict(drawn)
