"""Names of classes in plots."""

import warnings
import xml.etree.ElementTree as ElementTree

import pytest

from regraft.reports import plots
from sample_report import sample_report

NAMES = ("猫", "犬 & <b>", "قطة", "🦋", "a\x01b\x1b", "x" * 40)


@pytest.mark.parametrize("warned", [False, True], ids=["", "warnings as errors"])
def test_k22_names_stay_text_in_every_script_and_nothing_warns(warned: bool) -> None:
    report = sample_report(classes=NAMES)
    with warnings.catch_warnings(record=not warned) as found:
        warnings.simplefilter("error" if warned else "always")
        drawn = plots.drawn(report)
    assert warned or not found
    assert report.section
    texts = {one.text for one in ElementTree.fromstring(drawn["confusion"]).iter() if one.tag.endswith("}text")}
    assert {"猫", "犬 & <b>", "قطة", "🦋", "a\ufffdb\ufffd", "x" * 23 + "…", "Confusion matrix"} <= texts
