"""Figures of probes in the cards of shipped networks: those of the page, and no others'."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _kept import Kept, packed
from _pooled import shown
from _probe_card import carded, figures, write_figures
from _probe_page import Page, page

from cards import write_card
from regraft.backbones import shipped as in_package

DATA, DRAWS = ("ants", "leaves"), [(n, seed) for n in (10, 0) for seed in range(3)]
WEIGHTS = {"short": "a", "googlenet": "b"}
COMMAND = "python benchmarks/probe_table.py"


def rows(path: Path, *, lacking: str = "") -> Kept:
    """Right and wrong of two networks; the second is right more often."""
    random, kept = np.random.default_rng(0), Kept(path)
    for data in DATA:
        kept.add({"judged": data, "inside": False, "units": list(range(60))})
        for label, share in (("short", 0.5), ("googlenet", 0.7)):
            kept.add(*({"label": label, "weights": WEIGHTS[label], "px": 64, "set": data, "inside": False,
                        "per_class": n, "seed": seed, "right": packed(random.random(60) < share)}
                       for n, seed in DRAWS if label != lacking))  # fmt: skip
    return kept


def found(path: Path, *, lacking: str = "") -> Page:
    return Page(rows(path, lacking=lacking), WEIGHTS, DATA, DRAWS, inside=False)


def test_a_card_says_what_the_page_says(tmp_path: Path) -> None:
    here = found(tmp_path / "rows.jsonl")
    alone, ahead = figures(here, "googlenet", 64, COMMAND)
    assert alone.numbers == shown(here.tables("googlenet", 64, [10, 0]))
    assert ahead.numbers == here.against(("googlenet", 64), ("short", 64), [10, 0])
    assert ahead.value == pytest.approx(alone.value - figures(here, "short", 64, COMMAND)[0].value)
    text = page(Kept(tmp_path / "rows.jsonl"), WEIGHTS, [64], DATA, DRAWS, inside=False)
    assert alone.numbers in text
    assert ahead.numbers in text
    assert str(ahead).startswith(f"{alone.what} less that of short: +0.")


def test_probes_that_did_not_run_give_no_figure(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="probes of short did not all run"):
        figures(found(tmp_path / "rows.jsonl", lacking="short"), "googlenet", 64, COMMAND)


def test_a_later_table_takes_the_place_of_an_earlier_one_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_package, "weights_folder", lambda: tmp_path)
    write_card(tmp_path)
    before = carded(list(WEIGHTS), [64])["googlenet"]
    measured = figures(found(tmp_path / "rows.jsonl"), "googlenet", 64, COMMAND)
    for _ in range(2):
        write_figures(carded(list(WEIGHTS), [64])["googlenet"], measured)
    after = carded(list(WEIGHTS), [64])["googlenet"]
    assert after == replace(before, figures=(*before.figures[:2], *measured))
    assert before.figures[2].what.startswith("linear probes")


def test_no_card_is_written_for_another_size_nor_where_nothing_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_package, "weights_folder", lambda: tmp_path)
    with pytest.raises(SystemExit, match="None of short, googlenet is shipped"):
        carded(list(WEIGHTS), [64])
    write_card(tmp_path)
    with pytest.raises(SystemExit, match="add 64 to --px"):
        carded(list(WEIGHTS), [96])
