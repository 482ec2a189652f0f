"""The pages of the table of variants: what they say of rows, and that every way is one that `regraft fit` takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _kept import Kept, packed
from _targets import DOMAINS
from _transfer_data import Found
from _transfer_runs import Settings
from _variants_page import Variants, page, plot
from _ways import ARGUMENTS, GUESS_S, preset
from variants_table import PAGES, plan

from regraft.strategies.regularisers.regulariser import REGULARISERS

SETTINGS = Settings(backbone="net", weights="0a1b", architecture="net:bn", px=64, steps=150, scratch_steps=300)
ASKED = Variants(title="A title", asked="What?", base="probe", ways=("partial", "lora"), sizes=(10,))
NUM_TEST = 200


def row(data: str, way: str, seed: int, share: float, log_loss: float) -> dict[str, Any]:
    right = np.random.default_rng(seed).permutation(np.arange(NUM_TEST) < share * NUM_TEST).astype(float)
    return {"set": data, "n": 10, "way": way, "seed": seed, "start": "", "right": packed(right), "gap": 0.25,
            "log_loss": log_loss, "wall": 12.0}  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    found = Kept(tmp_path / "rows.jsonl")
    for data in DOMAINS:
        found.add({"judged": data, "ids": "", "units": list(range(NUM_TEST))})
    return found


def fill(kept: Kept, way: str, share: float, log_loss: float, tasks: list[str]) -> None:
    kept.add(*(row(data, way, seed, share, log_loss) for data in tasks for seed in range(3)))


def test_ways_are_told_ahead_or_behind_by_the_interval_of_the_mean_over_all_tasks(kept: Kept) -> None:
    fill(kept, "probe", 0.6, 1.0, list(DOMAINS))
    fill(kept, "partial", 0.9, 0.5, list(DOMAINS))
    fill(kept, "lora", 0.3, 2.0, list(DOMAINS))
    text = " ".join(page("ways", ASKED, Found(kept), SETTINGS).split())
    assert "higher: `partial` +0.300 [" in text
    assert "lower: `lora` -0.300 [" in text
    assert "not significant" not in text
    assert "| 10 | partial | 3 | 0.900 [" in text
    assert "| 0.500 | 15 of 15 | +0.250 | 12 |" in text
    assert "| 2.000 | 0 of 15 |" in text


def test_a_way_that_lacks_a_task_is_told_task_by_task_alone(kept: Kept) -> None:
    fill(kept, "probe", 0.6, 1.0, list(DOMAINS))
    fill(kept, "partial", 0.9, 0.5, list(DOMAINS)[1:])
    text = page("ways", ASKED, Found(kept), SETTINGS)
    assert "## Summary" not in text
    assert "| 10 | partial | not run |" in text
    lines = {one.split(" | ")[0].strip("| "): one for one in text.splitlines() if one.startswith("|")}
    assert lines["hymenoptera"].endswith("| not run | not run |")
    assert "+0.300 [" in lines["digits"]


def test_the_plot_is_the_same_bytes_for_the_same_rows(kept: Kept) -> None:
    fill(kept, "probe", 0.6, 1.0, list(DOMAINS))
    fill(kept, "partial", 0.9, 0.5, list(DOMAINS)[1:])
    drawn = plot(ASKED, Found(kept))
    assert drawn == plot(ASKED, Found(kept))
    assert "accuracy minus that of probe" in drawn


@pytest.mark.parametrize("name", list(PAGES))
def test_every_way_of_a_page_is_run_beside_its_base_and_has_a_first_guess(name: str) -> None:
    of = PAGES[name]
    runs = plan(of, range(2))
    assert len(runs) == len(set(runs)) == 2 * len(of.sizes) * len(DOMAINS) * (1 + len(of.ways))
    assert {run.way for run in runs} <= ARGUMENTS.keys()
    assert {preset(run.way) for run in runs} <= GUESS_S.keys()


def test_the_regularisers_of_the_table_are_all_there_are() -> None:
    assert set(PAGES["regularisers"].ways) == {f"full, {name}" for name in REGULARISERS}
