"""A described network as tables, as a drawing and as a page."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from regraft.reports import architecture
from regraft.reports.architecture_page import draw, render
from regraft.workbench.describe import describe

SPECS = ("googlenet:paper", "googlenet:naive", "vgg16", "mobilenet_v3_small", "vit_b_16")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def described() -> dict[str, dict[str, Any]]:
    """Each network as JSON."""
    return {spec: describe(spec).to_json() for spec in SPECS}


def texts(svg: str) -> list[str]:
    """Every text of a drawing."""
    return ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_table_of_stages_has_the_papers_columns_for_inception_modules(described: dict[str, Any]) -> None:
    table = architecture.stages(described["googlenet:paper"])
    row = dict(zip(table.header, next(row for row in table.rows if row[0] == "4e"), strict=True))
    assert row == {
        "stage": "4e", "output": "7x7x832", "sees": "459", "parameters": "868,352", "multiply-adds": "170.0M",
        "to train": "3.4 MB", "to run": "2.2 MB", "#1x1": "256", "#3x3 reduce": "160", "#3x3": "320",
        "#5x5 reduce": "32", "#5x5": "128", "pool proj": "128",
    }  # fmt: skip
    assert table.rows[-1][:5] == ("together", "", "", "6,998,552", "1,582.7M")
    naive = architecture.stages(described["googlenet:naive"])
    row = dict(zip(naive.header, next(row for row in naive.rows if row[0] == "3a"), strict=True))
    assert (row["#3x3 reduce"], row["#5x5 reduce"], row["pool proj"], row["#3x3"]) == ("–", "–", "–", "128")
    assert "#1x1" not in architecture.stages(described["vgg16"]).header


def test_the_papers_figures_are_shown_as_it_prints_them(described: dict[str, Any]) -> None:
    table = architecture.paper(described["googlenet:paper"])
    rows = {row[0]: row[1:4:2] for row in table.rows}
    assert rows["conv1"] == ("2.7K", "34M")
    assert rows["4c"] == ("463K", "100M")
    assert rows["5a"] == ("1,072K", "54M")
    assert rows["linear"] == ("1,000K", "1M")
    assert [table.rows[at][0] for at in sorted(table.marked)] == ["conv1", "4c", "5a"]


def test_layers_tell_window_and_what_a_cell_sees(described: dict[str, Any]) -> None:
    rows = {row[0]: row for row in architecture.layers(described["googlenet:paper"]).rows}
    assert rows["stem/0.conv"][1:6] == ("Conv2d", "7x7/2", "112x112x64", "7", "9,472")
    gated = architecture.stages(described["mobilenet_v3_small"]).rows
    assert [row[2] for row in gated[:2]] == ["3", "7 gated"]
    assert any(line.startswith("gated") for line in architecture.legend(described["mobilenet_v3_small"]))


@pytest.mark.parametrize("spec", SPECS)
def test_a_drawing_names_every_stage_cut_and_side_head_and_stays_within_its_width(
    spec: str, described: dict[str, Any]
) -> None:
    said = described[spec]
    drawn = draw(said)
    found = texts(drawn)
    assert [one["name"] for one in said["stages"]] == [
        text for text in found if text in {one["name"] for one in said["stages"]}
    ]
    assert [re.sub(r"^cut (\S+).*", r"\1", one) for one in found if one.startswith("cut ")] == [*said["cuts"]]
    assert sum(one.startswith("side head") for one in found) == len(said["side_weights"])
    for one in ElementTree.fromstring(drawn).iter(f"{SVG}text"):
        across = 0.62 * float(one.attrib["font-size"]) * len("".join(one.itertext()))
        left = float(one.attrib["x"]) - {"start": 0, "middle": 0.5, "end": 1}[one.get("text-anchor", "start")] * across
        assert left >= 0
        assert left + across <= 400


def test_modules_are_drawn_with_their_branches(described: dict[str, Any]) -> None:
    paper, naive = (texts(draw(described[spec])) for spec in ("googlenet:paper", "googlenet:naive"))
    for branch in ("1×1  64", "1×1  96", "3×3  128", "1×1  16", "5×5  32", "1×1  32", "pool 3×3"):
        assert branch in paper
    assert "in parallel: 64 + 128 + 32 + 32" in paper
    assert "in parallel: 64 + 128 + 32 + the input's own" in naive
    assert paper.count("max pool 3×3/2") == 2
    assert paper.count("pool 3×3") == naive.count("pool 3×3") == 9


def test_a_name_from_outside_cannot_break_the_drawing_or_the_page(described: dict[str, Any]) -> None:
    odd = {**described["vgg16"], "name": '<script>alert("&")</script>'}
    assert texts(draw(odd))[0] == odd["name"]
    assert "<script>" not in render(odd)


def test_a_page_is_one_file_with_drawing_and_every_table(described: dict[str, Any]) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.seen: list[str] = []
            self.links: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.seen.append(tag)
            self.links += [value for name, value in attrs if name in ("src", "href")]
            if tag not in ("meta", "rect", "polyline"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert tag in ("rect", "polyline") or self.open.pop() == tag

    page, tags = render(described["googlenet:paper"]), Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links == []
    assert (tags.seen.count("svg"), tags.seen.count("table")) == (1, 4)
    assert page.count("<tr class=marked>") == 3
    assert "separable" in page
