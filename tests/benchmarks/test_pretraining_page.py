"""The page of the shipped networks says what their cards say."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pretraining_page
import pytest
from _sets import ROOT
from pretraining_page import curves, page, shipped_ones

from cards import figure, write_card
from regraft.backbones import shipped as in_package

RESULTS = ROOT / "docs" / "results"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the package's weights."""
    for module in (in_package, pretraining_page):
        monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    return tmp_path


def test_every_number_of_every_card_is_on_the_page(folder: Path) -> None:
    for name in ("googlenet", "mobilenet_v3_small"):
        write_card(folder, name)
    text = page(shipped_ones())
    for found in shipped_ones():
        assert f"## {found.card.family}\n" in text
        for one in found.figures:
            assert f"| {one.what} | {one.numbers} | `python x.py` |" in text
            assert str(one) == f"{one.what}: {one.numbers}"
        assert all(f"* {limit}" in text for limit in found.limits)
    assert "| `googlenet` | 2.3 | 64 px | 70,317 | 1000 | 20 | 1,324,420 | 58 | 0.457 [0.444, 0.480] |" in text
    assert "options.lr 0.002\n" in text
    assert "the weights of epoch 19 are kept" in text


def test_the_nearest_figures_decide_which_is_to_be_preferred(folder: Path) -> None:
    path = write_card(folder, probes=0.7)
    write_card(folder, "mobilenet_v3_small", probes=0.6, size=1_000_000)
    card = json.loads(path.read_text())
    card["figures"].append(figure("linear probes on 5 target tasks less that of short", 0.0712, signed=True))
    path.write_text(json.dumps(card))
    text = page(shipped_ones())
    assert "* `googlenet`: 2.3 MB; mean probe accuracy +0.071 [+0.059, +0.095] compared with short." in text
    assert "`googlenet` has the higher mean probe accuracy, each at its own input size; " in text


def test_what_was_not_measured_is_said_so(folder: Path) -> None:
    path = write_card(folder)
    card = json.loads(path.read_text())
    del card["figures"][1:], card["recipe"]["curve"]
    path.write_text(json.dumps(card))
    assert page(shipped_ones()).count("| not measured | not measured |") == 1
    assert "Training curves" not in page(shipped_ones())
    assert curves(shipped_ones()) == ""


def test_the_plot_is_the_same_picture_for_the_same_cards_with_a_panel_for_each(folder: Path) -> None:
    for name in ("googlenet", "mobilenet_v3_small"):
        write_card(folder, name)
    drawn = curves(shipped_ones())
    assert drawn == curves(shipped_ones())
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "Training curves" in page(shipped_ones())


def test_without_weights_there_is_no_page(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"put a run there by pretraining/ship\.py first"):
        page(shipped_ones())


def test_the_page_in_the_repository_is_that_of_the_cards_and_so_are_its_probes() -> None:
    if not (shipped := shipped_ones()):
        pytest.skip("no weights are shipped yet: src/regraft/weights holds none")
    path = RESULTS / "pretraining.md"
    told = path.read_text(encoding="utf-8") if path.is_file() else ""
    assert told == page(shipped), "make it again: python benchmarks/pretraining_page.py"
    for found in shipped:
        probed = [one for one in found.figures if one.what.startswith("linear probes")]
        if probed:
            probes = (RESULTS / "probe.md").read_text(encoding="utf-8")
            assert all(one.numbers in probes or _turned(one) in probes for one in probed), found.card.family


def _turned(one: in_package.Figure) -> str:
    """The difference the other way round, as a page shows it that compares with this network."""
    return f"{-one.value:+.3f} [{-one.high:+.3f}, {-one.low:+.3f}]"
