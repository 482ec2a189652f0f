"""An evaluation on what the model was trained on says so."""

import json
import shutil
from pathlib import Path

import numpy as np

from cases.door import TINY, photo, photos, regraft

SAID = "were used to train or validate the model: results on them measure memorisation"


def findings(out: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((out / "report.json").read_text())["findings"]
    return found


def evaluated(model: Path, data: Path, out: Path) -> str:
    done = regraft("evaluate", model, "--data", data, "--out", out)
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def test_k20_the_training_data_are_recognised_in_terminal_report_and_page(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert f"24 of the 24 examples {SAID}" in evaluated(trained / "m", trained / "photos", out)
    (finding,) = findings(out)
    assert (finding["severity"], len(finding["examples"])) == ("warn", 24)  # type: ignore[arg-type]
    assert SAID in (out / "report.md").read_text(encoding="utf-8")


def test_k20_a_part_is_counted_even_where_it_was_saved_again_or_lies_in_an_archive(model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "new", 4, first=70)
    photo(0, 3).save(data / "cat" / "same.png")
    photo(1, 5).save(data / "dog" / "again.bmp")
    shutil.make_archive(str(tmp_path / "new"), "zip", data)
    assert f"2 of the 10 examples {SAID}" in evaluated(model, tmp_path / "new.zip", tmp_path / "out")
    assert findings(tmp_path / "out")[0]["examples"] == ["cat/same.png", "dog/again.bmp"]


def test_k20_new_data_and_the_runs_own_test_split_are_not_accused(model: Path, tmp_path: Path) -> None:
    out = evaluated(model, photos(tmp_path / "new", 4, first=70), tmp_path / "out")
    assert "train or validate" not in out
    assert findings(tmp_path / "out") == []
    split = tmp_path / "split"
    photos(split / "train", 8, first=100)
    photos(split / "test", 4, first=200)
    assert regraft("fit", split, *TINY, "--out", tmp_path / "s").code == 0
    assert "train or validate" not in evaluated(tmp_path / "s", split, tmp_path / "s out")
    assert f"16 of the 16 examples {SAID}" in evaluated(tmp_path / "s", split / "train", tmp_path / "s train")


def test_k20_what_an_earlier_run_was_trained_on_counts_as_well(model: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos", 6, first=300)
    done = regraft("fit", data, "--backbone", f"bundle:{model}", "--set", "threads=1", "--out", tmp_path / "next")
    assert done.code == 0, done.err
    photo(0, 3).save(data / "cat" / "first.png")
    assert f"13 of the 13 examples {SAID}" in evaluated(tmp_path / "next", data, tmp_path / "out")


def test_k20_a_model_without_its_run_says_that_it_cannot_tell(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model / "model", tmp_path / "alone" / "mine")
    out = evaluated(tmp_path / "alone" / "mine", photos(tmp_path / "new", 4, first=70), tmp_path / "out")
    assert "its run folder is missing" in out


def test_k20_no_digest_travels_with_the_model(model: Path) -> None:
    digests = np.load(model / "trained_on.npy")
    assert digests.shape == (24, 2, 20)
    for path in (model / "model").iterdir():
        assert digests[0, 0].tobytes() not in path.read_bytes()
        assert digests[0, 0].tobytes().hex() not in path.read_text(encoding="utf-8", errors="replace")
