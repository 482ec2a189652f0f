"""Pictures of a report."""

from pathlib import Path
from xml.etree import ElementTree

from regraft.reports import plots
from sample_report import sample_report


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
