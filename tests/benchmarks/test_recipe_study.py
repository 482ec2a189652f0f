"""The study of recipes of pretraining: what it runs, in which order, and what it concludes."""

import sys
import time
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _recipe_runs
import numpy as np
import pytest
from _kept import Kept, packed
from _recipe_data import Found, Noise, averaged, label, verdict
from _recipe_page import answers, page, plot
from _recipe_runs import BASE, SHORT, Bench, Cell, Settings, command, finished, run_all, settings_for
from pretraining_study import RECIPES, plan

from regraft.recipe import parse_setting, read_recipe, with_settings
from regraft.strategies import finetune

DATA, DRAWS = ("ants", "leaves"), tuple((n, seed) for n in (10, 0) for seed in range(3))
SETTINGS = Settings(base="b", corpus="corpus", architecture="googlenet:bn", epochs=6, px=48, probe_px=64)
SHARES = {
    ("base", 0): (0.40, 0.70), ("base", 1): (0.42, 0.72), ("smoothing 0.1", 0): (0.46, 0.50),
    ("smoothing 0.1", 1): (0.48, 0.52), ("dropout 0.2", 0): (0.41, 0.70), ("balanced", 0): (0.43, 0.74),
}  # fmt: skip
"""Share that is right on the corpus and in probes, by recipe and seed."""


def right(share: float, count: int) -> str:
    return packed(np.arange(count) < round(share * count))


def probe_rows(recipe: str, seed: int, share: float, data: str) -> list[dict[str, Any]]:
    key = {"label": label(recipe, seed), "weights": f"{recipe}{seed}", "px": 64, "set": data, "inside": True}
    return [{**key, "per_class": n, "seed": draw, "right": right(share, 50)} for n, draw in DRAWS]


def kept_rows(path: Path) -> Kept:
    kept = Kept(path)
    kept.settle(vars(SETTINGS))
    for (recipe, seed), (source, probes) in SHARES.items():
        ends = {"top1": {"value": source, "low": source - 0.01, "high": source + 0.01}}
        ends["top5"] = {end: value + 0.3 for end, value in ends["top1"].items()}
        kept.add({"recipe": recipe, "trained": seed, "weights": f"{recipe}{seed}", **ends,
                  "right_source": right(source, 400), "wall": 600})  # fmt: skip
        for data in DATA:
            kept.add({"judged": data, "inside": True, "units": list(range(50))})
            kept.add(*probe_rows(recipe, seed, probes, data))
    return kept


@pytest.fixture
def found(tmp_path: Path) -> Found:
    return Found(kept_rows(tmp_path / "rows.jsonl"), list(RECIPES), DATA, DRAWS)


def test_every_recipe_differs_from_the_base_in_one_setting_that_the_product_takes() -> None:
    base = with_settings(read_recipe(BASE), dict(map(parse_setting, SHORT)))
    for recipe, changes in RECIPES.items():
        assert len(changes) == (recipe != "base"), recipe
        changed = with_settings(base, dict(map(parse_setting, changes)))
        assert (changed == base) == (recipe == "base"), recipe
        finetune.check(finetune.Options(**changed.options))


def test_the_base_runs_with_every_seed_first_so_that_chance_is_known() -> None:
    cells = [(cell.recipe, cell.seed) for cell in plan(list(RECIPES), 2)]
    assert cells[:3] == [("base", 0), ("base", 1), ("side heads", 0)]
    assert len(cells) == len(set(cells)) == 2 * len(RECIPES)
    assert [seed for _, seed in cells[2:]] == sorted(seed for _, seed in cells[2:])


def test_chance_is_pooled_from_recipes_with_two_seeds(found: Found) -> None:
    noise = found.noise(lambda recipe, seed: found.source(recipe, seed).mean)
    assert noise is not None
    assert noise.degrees == 2
    assert noise.deviation == pytest.approx(0.02 / sqrt(2))
    # Student's t of two degrees at 97.5 %, from any table: 4.3027
    assert noise.half_width(2) == pytest.approx(4.3027 * 0.02 / sqrt(2), rel=1e-4)


def test_without_a_second_seed_nothing_is_known_of_chance(found: Found) -> None:
    found.recipes = ["balanced", "dropout 0.2"]
    assert found.noise(lambda recipe, seed: found.source(recipe, seed).mean) is None


def test_differences_are_those_of_the_seeds_that_both_have(found: Found) -> None:
    assert found.shared("smoothing 0.1", "base") == [0, 1]
    [ants, *_] = found.less("smoothing 0.1", "base", found.probes)
    assert ants.mean == pytest.approx(-0.2)
    assert found.less("balanced", "base", found.probes)[0].mean == pytest.approx(0.74 - 0.70)
    assert found.less("mixup 0.2", "base", found.probes) == []
    assert averaged([]) == []


def test_a_difference_counts_only_beyond_draws_examples_and_seeds_together() -> None:
    assert verdict(0.05, (0.02, 0.08), 0.03) == "ahead"  # hypot(0.03, 0.03) = 0.042
    assert verdict(0.05, (0.02, 0.08), 0.045) == "level"  # hypot(0.03, 0.045) = 0.054
    assert verdict(-0.05, (-0.06, -0.02), 0.03) == "behind"
    assert verdict(-0.05, (-0.06, 0.01), 0.0) == "level"
    assert verdict(0.05, None, 0.03) == verdict(0.05, (0.02, 0.08), None) == ""
    assert Noise(deviation=0.01, degrees=10).half_width(1) == pytest.approx(2.2281 * 0.01 * sqrt(2), rel=1e-4)


def test_the_page_tells_figures_differences_and_what_was_not_run(found: Found) -> None:
    text = page(found, RECIPES, range(2), "python x.py", 3)
    assert "| smoothing 0.1 | `options.smoothing=0.1` | 2 | 0.470 | +0.060 [" in text
    assert "| behind |\n" in text
    assert "| mixup 0.2 | `options.mixup=0.2` | not run |" in text
    assert "| dropout 0.2 | 1 | not run |" in text
    assert "| balanced | 0 | 0.430 [0.420, 0.440] | 0.730 [0.720, 0.740] |" in text
    assert "3 recipes are compared" in " ".join(text.split())
    said = " ".join(answers(found))
    assert "highest is balanced" in said
    assert "behind it: smoothing 0.1" in said
    assert "over the 4 recipes" in said
    assert "smoothing 0.1: +0.060" in said


def test_the_plot_is_the_same_for_the_same_rows(found: Found) -> None:
    assert plot(found) == plot(found)


def test_a_page_can_be_made_before_anything_ran(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "none.jsonl")
    kept.settle(vars(SETTINGS))
    nothing = Found(kept, list(RECIPES), DATA, DRAWS)
    assert "In short" not in page(nothing, RECIPES, range(2), "python x.py", 3)
    assert answers(nothing) == []


def bench(tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(_recipe_runs, "FOLDER", tmp_path / "runs")
    return Bench(settings=SETTINGS, corpus=tmp_path / "a corpus", data=(), draws=DRAWS, kept=kept)


def test_a_run_that_was_cut_off_goes_on_and_a_new_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = bench(tmp_path, Kept(tmp_path / "rows.jsonl"), monkeypatch)
    cell = Cell(recipe="smoothing 0.1", changes=RECIPES["smoothing 0.1"], seed=1)
    begun = command(cell, at)
    assert begun[:4] == [sys.executable, "-m", "regraft", "fit"]
    assert begun[-2:] == ["--set", "options.smoothing=0.1"]
    assert "--resume" not in begun
    settings = dict(parse_setting(begun[at + 1]) for at, word in enumerate(begun) if word == "--set")
    recipe = with_settings(read_recipe(BASE), settings)
    assert recipe.data == str(tmp_path / "a corpus")
    assert recipe.options["epochs"] == 6
    at.folder(cell).mkdir(parents=True)
    (at.folder(cell) / "begun.json").write_text("{}")
    assert command(cell, at) == [*begun, "--resume"]


def test_what_is_kept_does_not_run_again_and_what_the_budget_has_no_room_for_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = bench(tmp_path, kept_rows(tmp_path / "rows.jsonl"), monkeypatch)
    before = len(at.kept.rows)
    run_all(plan(["base", "smoothing 0.1", "balanced"], 2), at, ends_at=time.time(), jobs=1)
    said = capsys.readouterr().out
    assert "6 pretrainings, 1 missing, about 10 min each" in said
    assert "1 of 6 pretrainings are left for another time" in said
    assert len(at.kept.rows) == before


def test_probes_that_are_missing_are_made_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = bench(tmp_path, kept_rows(tmp_path / "rows.jsonl"), monkeypatch)
    at = Bench(**{**vars(at), "data": (*DATA, "tissue")})
    cell = Cell(recipe="base", changes=(), seed=0)
    assert not at.done(cell)
    made = [{"judged": "tissue", "inside": True, "units": list(range(50))}, *probe_rows("base", 0, 0.1, "tissue")]
    asked = []

    def submit(_: object, work: Any, draws: Any) -> SimpleNamespace:
        asked.append((work.data, draws))
        return SimpleNamespace(result=lambda: made)

    top1, probes = finished(cell, at, SimpleNamespace(submit=submit))  # type: ignore[arg-type]
    assert asked == [("tissue", list(DRAWS))]
    assert top1 == 0.40
    assert probes == pytest.approx((0.7 + 0.7 + 0.1) / 3)
    assert at.done(cell)


def test_settings_tell_the_base_recipe_but_not_where_its_data_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(text: str) -> str:
        path = tmp_path / "base.toml"
        path.write_text(text)
        monkeypatch.setattr(_recipe_runs, "BASE", path)
        return settings_for(tmp_path, "googlenet:bn", epochs=1, px=32, probe_px=64).base

    first = digest('data = "here"\n[options]\nlr = 1e-3\n')
    assert digest('# told\ndata = "there"\n[options]\nlr = 1e-3\n') == first
    assert digest('data = "here"\n[options]\nlr = 2e-3\n') != first
