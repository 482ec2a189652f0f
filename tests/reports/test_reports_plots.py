"""Pictures of a report."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from regraft.reports import _scatter, plots
from sample_report import NAMES, sample_report, sample_report_of


def test_pictures_are_svg_files_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    report = sample_report(classes=("costs $5 and $6", "bees"))
    names = plots.write_plots(report, tmp_path)
    assert names == ["curve.svg", "confusion.svg", "reliability.svg"]
    for name in names:
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    first = (tmp_path / "curve.svg").read_bytes()
    plots.write_plots(report, tmp_path)
    assert (tmp_path / "curve.svg").read_bytes() == first


def test_what_a_report_lacks_is_not_drawn(tmp_path: Path) -> None:
    assert plots.write_plots({}, tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    many = {"main": "test", "evaluation": {"test": {"confusion": [[1] * 60] * 60, "classes": ["x"] * 60}}}
    assert plots.confusion(many) == ""


def test_pictures_are_wanted_where_epochs_were_trained() -> None:
    report = sample_report()
    assert plots.wanted(report)
    report["strategy"]["curve"] = []
    assert not plots.wanted(report)


def test_names_under_the_matrix_are_turned_only_where_they_would_run_together() -> None:
    turned = "rotate(-45)"
    assert turned not in plots.confusion(sample_report())
    assert turned in plots.confusion(sample_report(classes=("carpenter ants", "leafcutter bees"), n=40))


def test_no_legend_hides_an_interval() -> None:
    svg = plots.reliability(sample_report())
    assert svg.index('id="axes_1"') < svg.index('id="legend_1"')
    axes = ElementTree.fromstring(svg).find(".//*[@id='axes_1']")
    assert axes is not None
    assert axes.find(".//*[@id='legend_1']") is None


@pytest.mark.parametrize("kind", NAMES)
def test_every_kind_has_pictures_of_its_own(kind: str, tmp_path: Path) -> None:
    own = {
        "multilabel": ["tags.svg", "reliability.svg"],
        "ordinal": ["confusion.svg", "reliability.svg"],
        "regression": ["predicted.svg", "residuals.svg"],
    }
    report = sample_report_of(kind)
    names = plots.write_plots(report, tmp_path)
    assert names == ["curve.svg", *own[kind]]
    for name in names:
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    report["strategy"]["curve"] = []
    assert plots.wanted(report) == (kind == "regression")


def test_every_number_has_a_panel_and_every_point_a_mark() -> None:
    report = sample_report_of("regression")
    for svg in (_scatter.predicted(report), _scatter.residuals(report)):
        root = ElementTree.fromstring(svg)
        panels = [root.find(f".//*[@id='axes_{at}']") for at in (1, 2, 3)]
        assert [panel is not None for panel in panels] == [True, True, False]
        marks = panels[0].findall(".//*[@id='PathCollection_1']//{http://www.w3.org/2000/svg}use")  # type: ignore[union-attr]
        assert len(marks) == 153


def test_tags_without_a_figure_and_very_many_tags_are_not_drawn() -> None:
    report = sample_report_of("multilabel")
    tags = report["evaluation"]["test"]["per_tag"]
    tags[0]["average_precision"]["value"] = None
    assert "sunny" not in _scatter.tags(report)
    assert _scatter.tags(report)
    report["evaluation"]["test"]["per_tag"] = [tags[1]] * 60
    assert _scatter.tags(report) == ""


def test_numbers_that_are_all_the_same_still_make_a_picture() -> None:
    report = sample_report_of("regression", num_outputs=1)
    report["evaluation"]["test"]["per_number"][0]["points"] = [[2.0, 2.0]] * 5
    assert _scatter.predicted(report).startswith("<?xml")
    assert _scatter.residuals(report).startswith("<?xml")
