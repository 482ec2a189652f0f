"""Plots of a report."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from regraft.evaluation.metrics.classes import ClassFigures
from regraft.evaluation.metrics.probabilities import LabelFigures, ProbabilityFigures
from regraft.evaluation.metrics.values import ValueFigures
from regraft.reports import plots
from regraft.reports import plots as _scatter
from regraft.reports.report import Report
from regraft.values import Measured
from sample_report import NAMES, changed, sample_report, sample_report_of

CURVE = "strategy.curve"


def confusion(report: Report) -> str:
    assert report.section
    assert isinstance(report.section.figures, ClassFigures)
    return plots.confusion(report.section.figures)


def label_figures(report: Report) -> LabelFigures:
    assert report.section
    assert isinstance(report.section.figures, LabelFigures)
    return report.section.figures


def value_figures(report: Report) -> ValueFigures:
    assert report.section
    assert isinstance(report.section.figures, ValueFigures)
    return report.section.figures


def test_plots_are_svg_and_the_same_text_each_time() -> None:
    report = sample_report(classes=("costs $5 and $6", "bees"))
    found = plots.drawn(report)
    assert list(found) == ["curve", "confusion", "reliability"]
    for svg in found.values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert plots.drawn(report) == found


def test_what_a_report_lacks_is_not_drawn() -> None:
    assert plots.drawn(changed(replace(sample_report(), evaluation={}), CURVE, ())) == {}
    assert confusion(sample_report(classes=tuple(f"class {i}" for i in range(60)))) == ""


def test_plots_are_wanted_where_epochs_were_trained() -> None:
    report = sample_report()
    assert plots.wanted(report)
    assert not plots.wanted(changed(report, CURVE, ()))


def test_names_under_the_matrix_are_turned_only_where_they_would_run_together() -> None:
    turned = "rotate(-45 "
    assert turned not in confusion(sample_report())
    assert turned in confusion(sample_report(classes=("carpenter ants", "leafcutter bees"), n=40))


def test_no_legend_hides_an_interval() -> None:
    section = sample_report().section
    assert section
    assert isinstance(section.figures, ProbabilityFigures)
    svg = plots.reliability(section.figures)
    assert svg.index('id="axes_1"') < svg.index('id="legend_1"')
    axes = ElementTree.fromstring(svg).find(".//*[@id='axes_1']")
    assert axes is not None
    assert axes.find(".//*[@id='legend_1']") is None


@pytest.mark.parametrize("kind", NAMES)
def test_every_kind_has_plots_of_its_own(kind: str) -> None:
    own = {
        "multilabel": ["labels", "reliability"],
        "ordinal": ["confusion", "reliability"],
        "regression": ["predicted", "residuals"],
    }
    report = sample_report_of(kind)
    found = plots.drawn(report)
    assert list(found) == ["curve", *own[kind]]
    for svg in found.values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert plots.wanted(changed(report, CURVE, ())) == (kind == "regression")


def test_every_target_has_a_panel_and_every_point_a_mark() -> None:
    figures = value_figures(sample_report_of("regression"))
    for svg in (_scatter.predicted(figures), _scatter.residuals(figures)):
        root = ElementTree.fromstring(svg)
        panels = [root.find(f".//*[@id='axes_{at}']") for at in (1, 2, 3)]
        assert [panel is not None for panel in panels] == [True, True, False]
        marks = panels[0].findall(".//*[@id='PathCollection_1']//{http://www.w3.org/2000/svg}use")  # type: ignore[union-attr]
        assert len(marks) == 153


def test_labels_without_a_figure_and_very_many_labels_are_not_drawn() -> None:
    figures = label_figures(sample_report_of("multilabel"))
    labels = figures.per_label
    undefined = replace(labels[0], average_precision=Measured(value=float("nan")))
    svg = _scatter.labels(replace(figures, per_label=(undefined, *labels[1:])), 153)
    assert "sunny" not in svg
    assert svg
    assert _scatter.labels(replace(figures, per_label=(labels[1],) * 60), 153) == ""


def test_values_that_are_all_the_same_still_make_a_plot() -> None:
    figures = value_figures(sample_report_of("regression", num_outputs=1))
    same = replace(figures, per_target=(replace(figures.per_target[0], points=((2.0, 2.0),) * 5),))
    assert _scatter.predicted(same).startswith("<?xml")
    assert _scatter.residuals(same).startswith("<?xml")
