"""Studies as a user runs them: on a folder of his own, divided or not, and from the corpus where it is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.contracts.study import STUDIES
from regraft.errors import BadData, BadRequest, LeakedSplit, RunError, UnknownName
from regraft.lab.run import Where, run
from regraft.lab.setting import Examples
from regraft.reports.lab import page
from regraft.values import Notice
from regraft.workbench._lab_data import corpus, open_examples
from regraft.workbench.lab import StudyDone, lab, studies
from studies import CLASSES, TINY, done, opened, paint, returned


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted"))


def divided(root: Path, painted: Path) -> Path:
    """The folder with its last four pictures of a class as test part."""
    for path in sorted(painted.rglob("*.png")):
        part = "test" if int(path.stem) >= 12 else "train"
        target = root / part / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def test_a_study_of_a_folder_of_ones_own_leaves_rows_report_page_and_plots(painted: Path, tmp_path: Path) -> None:
    out, site = tmp_path / "out", tmp_path / "site"
    events = lab("auxiliary", out=out, data=painted, device="cpu", threads=1, publish=site, setting=TINY)
    report = done(events).report
    assert report["data"]["name"] == painted.name
    assert len(report["data"]["classes"]) == 4
    assert report["not_run"] == report["failed"] == []
    assert len((out / "rows.jsonl").read_text().splitlines()) == 4
    names = {"accuracy.svg", "losses.svg", "gradients.svg"}
    assert {path.name for path in out.glob("*.svg")} == names
    assert {path.name for path in site.iterdir()} == {"lab_auxiliary.md", *(f"lab_auxiliary_{name}" for name in names)}
    assert "](lab_auxiliary_gradients.svg)" in (site / "lab_auxiliary.md").read_text()
    assert "regraft lab auxiliary --data FOLDER --seeds 1" in (out / "report.md").read_text()


def test_every_study_is_listed_with_its_claim_and_others_are_not_there(tmp_path: Path) -> None:
    assert {one.name for one in studies()} == {"against", "auxiliary", "pooling", "reductions", "scales"}
    with pytest.raises(UnknownName, match="reductoins") as told:
        done(lab("reductoins", out=tmp_path))
    assert told.value.fix == "did you mean 'reductions'?"
    with pytest.raises(BadRequest, match="seeds is 0"):
        done(lab("scales", out=tmp_path, seeds=0))


def test_without_data_and_corpus_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REGRAFT_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(BadData, match="No data are named") as told:
        done(lab("scales", out=tmp_path / "out"))
    assert "--data FOLDER" in told.value.fix
    assert not (tmp_path / "out").exists()


def test_data_that_come_divided_stay_so(painted: Path, tmp_path: Path) -> None:
    examples = opened(divided(tmp_path, painted))
    assert len(examples.test) == 4 * 4
    assert len(examples.pool) == 4 * 12
    assert examples.others is not None
    assert (len(examples.others.train), len(examples.others.test)) == (2 * 12, 2 * 4)


def test_parts_that_share_a_picture_are_refused_unless_leaks_are_allowed(painted: Path, tmp_path: Path) -> None:
    root = divided(tmp_path, painted)
    shutil.copy(root / "train" / "red" / "0.png", root / "test" / "red" / "0.png")
    shutil.copy(root / "train" / "dots" / "0.png", root / "test" / "dots" / "0.png")
    shutil.copy(root / "train" / "blue" / "0.png", root / "test" / "blue" / "0.png")
    everything = replace(TINY, num_classes=6, num_others=0)
    with pytest.raises(LeakedSplit):
        opened(root, everything)
    events = list(open_examples(root, everything, threads=1, allow_leaks=True))
    assert any(isinstance(event, Notice) and "Leaks" in event.text for event in events)


def test_copies_of_a_picture_lie_on_one_side(painted: Path, tmp_path: Path) -> None:
    root = tmp_path / "copied"
    shutil.copytree(painted, root)
    for name in CLASSES:
        for at in range(0, 16, 2):
            shutil.copy(root / name / f"{at}.png", root / name / f"{at}-again.png")
    examples = opened(root, replace(TINY, test_per_class=99))
    assert not set(examples.groups[examples.pool].tolist()) & set(examples.groups[examples.test].tolist())
    assert len(examples.pool) + len(examples.test) == 4 * 24


def test_two_classes_are_both_trained_on_and_no_other_is_left(painted: Path, tmp_path: Path) -> None:
    for name in ("red", "stripes"):
        shutil.copytree(painted / name, tmp_path / name)
    examples = opened(tmp_path)
    assert examples.task.classes == ("red", "stripes")
    assert examples.others is None


def test_fewer_examples_than_the_sizes_ask_for_make_fewer_sizes(painted: Path) -> None:
    examples = opened(painted, replace(TINY, sizes=(200, 50, 5), test_per_class=100))
    largest = int(np.bincount(examples.targets[examples.pool]).max())
    assert examples.sizes == (largest, 5)


def test_every_arm_sees_the_same_prepared_inputs(painted: Path) -> None:
    examples = opened(painted)
    plain = examples.states.batch(examples.test[:2], np.zeros(2, dtype=np.int64))["pixels"]
    root_path = painted / examples.task.classes[int(examples.targets[examples.test[0]])]
    known = [np.asarray(Image.open(path).convert("RGB")) for path in root_path.iterdir()]
    assert plain.shape == (2, 32, 32, 3)
    assert any(np.array_equal(plain[0], one) for one in known)


def test_views_of_held_pictures_train_a_study_that_says_so_and_goes_on_with_no_others(
    painted: Path, tmp_path: Path
) -> None:
    """As on a GPU, with the processor as the device."""
    examples: Examples = returned(open_examples(painted, TINY, threads=1, views_on="cpu"))
    study, where = STUDIES.get("auxiliary"), Where(folder=tmp_path, device="cpu", machine="a machine")
    drawn = examples.drawn(6, 0)
    views = examples.states.batch(drawn, np.ones(len(drawn), dtype=np.int64))["pixels"]
    assert views.shape == (4 * 6, 32, 32, 3)
    last = done(run("auxiliary", study, TINY, examples, where))
    assert last.report["not_run"] == last.report["failed"] == []
    assert "held there" in page(last.report)
    plain = opened(painted)
    zeros = np.zeros(len(examples.test), dtype=np.int64)
    assert np.array_equal(*(one.states.batch(one.test, zeros)["pixels"] for one in (examples, plain)))
    with pytest.raises(RunError, match="other settings or data"):
        done(run("auxiliary", study, TINY, plain, replace(where, resume=True)))
    examples.states.close()


@pytest.mark.slow
def test_the_corpus_is_found_and_divided_anew(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGRAFT_SHARED", str(shared_data.parent))
    assert corpus().is_dir()
    setting = replace(TINY, num_classes=5, num_others=3, sizes=(40,), test_per_class=50, steps=4, seeds=1)
    last = done(lab("auxiliary", out=tmp_path, device="cpu", threads=1, setting=setting))
    assert isinstance(last, StudyDone)
    assert last.report["data"]["test"] == 5 * 50
    assert last.report["data"]["probe_test"] == 3 * 50
    assert not last.report["data"]["given"]
