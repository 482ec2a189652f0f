"""The page of a run, as Markdown and as HTML, and the sentences it opens with."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.contracts.page import Block, Table
from regraft.errors import RunError
from regraft.files import write_json
from regraft.reports.page import as_markdown, html, markdown, write_pages
from regraft.reports.report import Abstained, Damaged, Report, read_report
from regraft.reports.verdict import not_verified, verdict
from regraft.values import Measured
from sample_report import NAMES, changed, later_evaluation, sample_report, sample_report_of

HEADINGS = (
    "Metrics", "Metrics by class", "Confusion matrix", "Calibration", "Decision threshold",
    "Overfitting (train against held-out)", "Data", "Training details", "Activation store", "Time and memory",
    "Reproduction", "Not verified",
)  # fmt: skip
OWN = {
    "multilabel": ("Metrics by label", "Calibration", "Decision threshold"),
    "ordinal": ("Metrics by class", "Confusion matrix", "Calibration"),
    "regression": ("Errors by target",),
}
EVERY = ["classification", *NAMES]


def report_of(kind: str) -> Report:
    return sample_report_of(kind) if kind in NAMES else sample_report()


def headings(page: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^## (.*)$", page, flags=re.MULTILINE))


def main(report: Report) -> Measured:
    assert report.section is not None
    return report.section.metrics[report.section.main_metric]


def figures(report: Report) -> Any:
    assert report.section is not None
    return report.section.figures


@pytest.mark.parametrize("kind", EVERY)
def test_a_report_is_read_as_it_was_written(kind: str, tmp_path: Path) -> None:
    run = report_of(kind)
    for report in (run, replace(later_evaluation(run), abstain=Abstained(limit=0.9, refused=3, evaluation=None))):
        write_json(tmp_path / "report.json", report.to_json())
        found = read_report(tmp_path)
        assert found.to_json() == report.to_json()
        assert type(figures(found)) is type(figures(report))
        assert verdict(found) == verdict(report)


def test_a_report_of_another_format_or_damaged_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", {"format": 1, "main": "test"})
    with pytest.raises(RunError, match=r"has format 1; .* reads format 2") as raised:
        read_report(tmp_path)
    assert "regraft fit" in raised.value.fix
    write_json(tmp_path / "report.json", sample_report().to_json() | {"gaps": 3})
    with pytest.raises(RunError, match=r"report.json cannot be read"):
        read_report(tmp_path)


def test_a_page_opens_with_the_figure_and_its_interval_and_has_every_section() -> None:
    report = sample_report()
    page = markdown(report)
    assert page.splitlines()[2].startswith(f"**Accuracy {main(report).told()} on 153 test examples of 2 classes.")
    assert headings(page) == HEADINGS


def test_an_input_without_pixels_is_given_no_size() -> None:
    report = sample_report()
    assert "| Input | 224 × 224 pixels |" in markdown(report)
    assert "| Input |" not in markdown(replace(report, backbone=replace(report.backbone, input_px=())))


def test_every_number_of_the_main_table_stands_beside_that_of_the_probe() -> None:
    report = sample_report()
    page = markdown(report)
    assert report.section
    assert report.probe
    assert report.paired
    row = next(line for line in page.splitlines() if line.startswith("| Log loss (lower is better)"))
    both = [one.metrics["log_loss"].told() for one in (report.section, report.probe.evaluation)]
    assert [cell.strip() for cell in row.split("|")[2:4]] == both
    assert report.paired.verdict in page


def test_tables_are_rectangular() -> None:
    alone = replace(sample_report(main="cross-validation"), probe=None, paired=None)
    several = [("ants", "bees"), ("a|b", "c", "d"), tuple(f"class {i}" for i in range(50))]
    kinds = [sample_report_of(kind, main=where) for kind in NAMES for where in ("test", "cross-validation")]
    for page in map(markdown, [alone, *(sample_report(classes=classes, n=300) for classes in several), *kinds]):
        for text in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()}) == 1, text


class Outline(HTMLParser):
    """Headings, tags and addresses of a page whose tags are all closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href") and tag != "use"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.mark.parametrize("kind", EVERY)
def test_the_html_page_has_the_same_sections_and_needs_nothing_beside_itself(kind: str, tmp_path: Path) -> None:
    write_pages(report_of(kind), tmp_path)
    page, outline = (tmp_path / "report.html").read_text(encoding="utf-8"), Outline()
    outline.feed(page)
    assert outline.open == []
    assert tuple(outline.headings) == headings((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert page.count("<svg") == len(list(tmp_path.glob("*.svg"))) >= 3
    assert not outline.tags & {"script", "link", "iframe", "img"}
    assert outline.addresses == []


def test_names_are_shown_as_they_are_in_both_formats() -> None:
    report = sample_report(classes=("Tomato___blight", "x|y<b>"), n=40)
    assert "Tomato\\_\\_\\_blight" in markdown(report)
    assert "x\\|y&lt;b>" in markdown(report)
    assert "x|y&lt;b&gt;" in html(report)
    assert "<b>" not in html(report)


def test_code_between_backticks_stays_in_its_cell() -> None:
    block = Block("Any", (Table(("", ""), [("`a|b`", "_x_")]),))
    assert "| `a\\|b` | \\_x\\_ |" in as_markdown("t", [], [block], {})


@pytest.mark.parametrize(
    ("missing", "lost"),
    [("probe", ""), ("paired", ""), ("calibration", ""), ("store", "Activation store"), ("recipe", "Reproduction"),
     ("strategy", "Training details")],
)  # fmt: skip
def test_a_report_without_one_section_renders_the_others(missing: str, lost: str) -> None:
    found = headings(markdown(replace(sample_report(), **{missing: None})))
    assert set(HEADINGS) - set(found) == ({lost} if lost else set())


def test_a_run_that_held_nothing_out_says_so() -> None:
    page = markdown(replace(sample_report(), evaluation={}, gaps=(), probe=None, paired=None))
    assert "Nothing was measured" in page
    assert "Nothing was held out" in page


def test_numbers_that_are_not_defined_are_shown_as_such() -> None:
    undefined = Measured(value=float("nan"), method="undefined: a class has no example")
    page = markdown(changed(sample_report(), "evaluation.test.metrics.auroc", undefined))
    row = next(line for line in page.splitlines() if line.startswith("| AUROC"))
    assert row.split("|")[2].strip() == "–"
    assert "undefined: a class has no example (AUROC)" in page


def test_cross_validation_leads_with_the_mean_of_the_folds() -> None:
    report = sample_report(main="cross-validation")
    assert report.section
    assert report.section.headline == report.section.mean_of_folds
    assert verdict(report).startswith("Accuracy 0.910 [0.860, 0.960] by 5-fold cross-validation, repeated 4 times,")
    page = markdown(report)
    assert "| Accuracy, mean of the folds | 0.910 [0.860, 0.960] | 0.910 [0.860, 0.960] |" in page
    assert "Accuracy, pooled" in page
    assert any("never tested" in sentence for sentence in not_verified(report))


def test_a_guess_is_the_share_of_the_most_frequent_class() -> None:
    report = sample_report()
    top = max(figures(report).per_class, key=lambda one: one.support)
    assert f"Always predicting {top.name} would score {top.support / 153:.3f}." in verdict(report)


def test_a_probe_says_that_it_is_one() -> None:
    report = changed(replace(sample_report(), probe=None, paired=None), "strategy.name", "probe")
    report = changed(changed(report, "strategy.preset", "probe"), "strategy.curve", ())
    assert "This is the linear probe" in verdict(report)
    assert "linear probe |" not in markdown(report)


def test_what_was_not_verified_follows_from_the_report() -> None:
    report = sample_report()
    without = not_verified(report)
    assert any("--group-column" in sentence for sentence in without)
    assert any("uncalibrated" in sentence for sentence in without)
    report = changed(changed(report, "data.groups", 31), "calibration.kept", True)
    with_more = not_verified(changed(report, "backbone.weights", "random"))
    assert len(with_more) == len(without) - 3
    assert not any("source data" in sentence for sentence in with_more)


def test_the_kept_epoch_is_marked_and_long_curves_are_thinned() -> None:
    epochs = re.findall(r"^\| (\d+)( \(kept\))? \|", markdown(sample_report()), flags=re.MULTILINE)
    assert [number for number, kept in epochs if kept] == ["16"]
    assert epochs[0][0] == "1"
    assert epochs[-1][0] == "20"
    assert len(epochs) <= 13


def test_a_regulariser_is_named_with_the_weight_that_was_used_and_its_share_of_the_loss() -> None:
    report = sample_report()
    assert "egulariser" not in markdown(report)
    assert report.strategy
    held = {"name": "co_tuning", "weight": 2.3, "relationship": "reverse"}
    curve = tuple({**row, "regulariser": 0.125} for row in report.strategy.curve)
    strategy = replace(report.strategy, facts={**report.strategy.facts, "regulariser": held}, curve=curve)
    page = markdown(replace(report, strategy=strategy))
    assert "| Regulariser | `co_tuning`, weight 2.3 |" in page
    assert re.search(r"^\| 1 \| 0\.\d+ \| 0\.125 \|", page, flags=re.MULTILINE)
    assert "regulariser loss" in page


def test_a_rescaled_loss_is_told_only_where_it_is_another() -> None:
    report = sample_report()
    assert report.strategy
    assert "validation loss, rescaled" in markdown(report)
    same = tuple({**row, "val_loss_rescaled": row["val_loss"]} for row in report.strategy.curve)
    page = markdown(changed(report, "strategy.curve", same))
    assert "validation loss, rescaled" not in page
    assert "validation loss | validation accuracy" in page


def test_plots_are_shown_only_when_they_are_there() -> None:
    report = sample_report()
    assert "](" not in markdown(report)
    assert "](curve.svg)" in markdown(report, {"curve": "<svg/>"})
    assert "<figure" not in html(report)


def test_damaged_files_are_all_named_up_to_fifty() -> None:
    files = tuple(Damaged(id=f"bad{i}.jpg", reason="cut short") for i in range(60))
    page = markdown(changed(sample_report(), "data.quarantined", files))
    assert page.count("| cut short |") == 50
    assert "… and 10 more in report.json." in page


def test_a_later_evaluation_has_a_verdict_without_a_probe() -> None:
    report = later_evaluation(sample_report())
    assert verdict(report).startswith(f"Accuracy {main(report).told()} on 153 test examples of 2 classes")
    assert "probe" not in verdict(report)


def test_the_page_of_a_later_evaluation_tells_the_model_and_leaves_out_how_it_was_trained() -> None:
    report = later_evaluation(sample_report())
    page = markdown(replace(report, abstain=Abstained(limit=0.9, refused=3, evaluation=report.section)))
    assert page.startswith("# ants tested on site b\n")
    assert f"3 examples refused, accuracy {main(report).told()} on the others" in page
    assert headings(page) == (*HEADINGS[:5], "Data", "Model", "Not verified")
    assert "| Accuracy after training | 0.900 [0.800, 0.950] (cross-validation) |" in page
    assert "near copies of them, were used for training" in page
    assert "The splits were given" not in page
    nothing = replace(report, abstain=Abstained(limit=0.1, refused=153, evaluation=None))
    assert "153 examples refused, that is, all of them." in markdown(nothing)


def test_a_path_of_data_that_is_not_absolute_is_said_to_depend_on_where_one_is() -> None:
    report = sample_report()
    assert "`photos`, is relative to the folder in which the run was started." in markdown(report)
    assert "is relative to the folder" not in markdown(changed(report, "recipe.data", "/data/photos"))


@pytest.mark.parametrize("kind", NAMES)
def test_the_page_of_every_kind_opens_with_its_own_figure_and_has_its_own_sections(kind: str) -> None:
    report = sample_report_of(kind)
    page = markdown(report)
    title = {"multilabel": "Mean average precision", "ordinal": "Mean distance in ranks", "regression": "Mean absolute"}
    assert page.splitlines()[2].startswith(f"**{title[kind]}")
    assert main(report).told() in page.splitlines()[2]
    assert headings(page) == (HEADINGS[0], *OWN[kind], *HEADINGS[5:])
    assert report.paired
    assert report.paired.verdict.replace("_", "\\_") in page


def test_targets_are_told_with_their_names_and_units_everywhere() -> None:
    one, two = sample_report_of("regression", num_outputs=1), sample_report_of("regression")
    assert " in the unit of price on 153 test examples. Always predicting the training median, " in verdict(one)
    assert verdict(one).endswith(" in the unit of price.")
    page = markdown(two)
    assert "| Mean absolute error in the units of price and area\\_m2 (lower is better) |" in page
    assert "397 examples with the targets price and area\\_m2." in page
    assert "mean absolute error grows by" in page
    assert "if the units differ" in page
    assert "training median |" in page
    assert not any("probabilities" in sentence for sentence in not_verified(one))


def test_a_guess_is_what_suits_the_question() -> None:
    labels, ranks = sample_report_of("multilabel"), sample_report_of("ordinal")
    shares = [one.support / 153 for one in figures(labels).per_label]
    assert f"Random ranking would score {sum(shares) / len(shares):.3f}." in verdict(labels)
    support = np.array([one.support for one in figures(ranks).per_class])
    by_guess = [(support * np.abs(np.arange(4) - at)).sum() / 153 for at in range(4)]
    best = NAMES["ordinal"][int(np.argmin(by_guess))]
    assert f"Always predicting {best} would score {min(by_guess):.3f}." in verdict(ranks)


def test_a_label_that_was_not_seen_has_no_figures_and_many_labels_show_the_worst() -> None:
    report, path = sample_report_of("multilabel"), "evaluation.test.figures.per_label"
    labels = figures(report).per_label
    unseen = replace(labels[0], average_precision=Measured(value=float("nan"), method="undefined"))
    assert "| sunny | 28 | 41 | – |" in markdown(changed(report, path, (unseen, *labels[1:])))
    page = markdown(changed(report, path, (unseen, *([labels[1]] * 40), *([labels[3]] * 10))))
    assert "The 40 labels with the lowest average precision, out of 51" in page
    assert page.count("| beach | 53 | 51 |") == 40
    assert "| sunny | 28 | 41 |" not in page


def test_labels_have_thresholds_of_their_own_where_some_were_chosen() -> None:
    report = sample_report_of("multilabel")
    labels = figures(report).per_label
    point = labels[1].chosen
    assert f"| beach | {point.threshold:.3f} | {point.sensitivity.told()} |" in markdown(report)
    without = tuple(replace(one, chosen=None) for one in labels)
    assert "Decision threshold" not in markdown(changed(report, "evaluation.test.figures.per_label", without))


def test_the_probe_beside_random_weights_is_told_from_one_of_pretrained_features() -> None:
    report = sample_report()
    assert "random features" not in verdict(report)
    random = changed(report, "backbone.weights", "random")
    assert verdict(random).startswith(verdict(report))
    assert "random features" in verdict(random)
