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
