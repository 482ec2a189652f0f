"""Recordings from a folder or table to a saved model, by an image network that was not made for them."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from regraft.bundles.bundle import load
from regraft.contracts.modality import MODALITIES
from regraft.errors import BadData
from regraft.recipe import Recipe
from regraft.values import Notice
from regraft.workbench.evaluate import evaluate
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from sound.test_sound_features import tones, wav

TINY = {"backbone": "googlenet:tiny@random", "input_px": 64, "threads": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high sounds of 0.4 to 2.5 s at two rates, one of them stereo; one silent, one damaged."""
    root, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for split, count in (("train", 14), ("test", 8)):
        for label, hertz in (("low", 300.0), ("high", 2400.0)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for at in range(count):
                rate, seconds = (8000, 22050)[at % 2], random.uniform(0.4, 2.5)
                samples = tones(rate, seconds, (hertz * random.uniform(0.9, 1.1),))
                samples += random.normal(0, 0.05, len(samples))
                if at == 3:
                    samples = np.stack([samples, 0.5 * samples], axis=1)
                (folder / f"{at}.wav").write_bytes(wav(np.clip(samples, -1, 1), rate))
    (root / "train/low/silent.wav").write_bytes(wav(np.zeros(8000)))
    (root / "train/low/damaged.wav").write_bytes(b"RIFF but no sound")
    return root


@pytest.fixture(scope="module")
def done(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDone, list[str]]:
    """A probe on windows of half a second, so that a recording has one to five pieces."""
    recipe = Recipe(data=str(clips), prepare={"seconds": 0.5, "step_seconds": 0.5}, **TINY)
    *events, last = fit(recipe, tmp_path_factory.mktemp("runs") / "probe")
    assert isinstance(last, RunDone)
    return last, [event.text for event in events if isinstance(event, Notice)]


def test_an_image_network_hears(done: tuple[RunDone, list[str]]) -> None:
    report = done[0].report
    assert report.evaluation["test"].metrics["accuracy"].value > 0.9
    assert report.backbone.input_px == (64, 64)
    card = load(done[0].path).card
    assert (card.modality, card.preparation.seconds, card.preparation.input_px) == ("sound", 0.5, (64, 64))


def test_what_is_odd_about_the_recordings_is_said(done: tuple[RunDone, list[str]]) -> None:
    said = "\n".join(done[1])
    for words in ("1 unreadable file of 46", "damaged.wav", "1 recording of 45 are silent", "have several channels",
                  "a different sampling rate"):  # fmt: skip
        assert words in said, words


def test_the_probe_and_the_saved_model_average_the_same_pieces(done: tuple[RunDone, list[str]], clips: Path) -> None:
    bundle = load(done[0].path)
    files = sorted((clips / "test").rglob("*.wav"))
    pieces = [bundle.modality.pieces(bundle.modality.given(file), bundle.card.preparation) for file in files]
    assert len(set(pieces)) > 2
    found = {Path(one.id).relative_to(clips).as_posix(): one for one in bundle.predict(files)}
    rows = (done[0].path / "predictions.csv").read_text().splitlines()
    header = rows[0].split(",")
    for row in (dict(zip(header, line.split(","), strict=True)) for line in rows[1:]):
        if row["split"] == "test":
            one = found[row["id"]]
            assert abs(one.probabilities["low"] - float(row["p:low"])) < 1e-4, row["id"]
            assert one.ood_score is not None


def test_it_is_evaluated_and_adapted_further(done: tuple[RunDone, list[str]], clips: Path, tmp_path: Path) -> None:
    *_, found = evaluate(done[0].path, clips)
    assert found.report.evaluation["test"].metrics["accuracy"].value > 0.9
    recipe = Recipe(
        data=str(clips), backbone=f"bundle:{done[0].path}", strategy="partial", threads=1, views=1,
        options={"epochs": 1, "min_steps": 0}, augment={"time_masks": 2},
    )  # fmt: skip
    *_, again = fit(recipe, tmp_path / "partial")
    assert again.report.strategy.cut == "4e"
    assert load(again.path).card.preparation.step_seconds == 0.5


def test_long_recordings_are_cut_and_that_is_said(clips: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=str(clips), prepare={"seconds": 1.0}, augment={"band_masks": 3}, **TINY)
    *events, _ = fit(recipe, tmp_path / "cut")
    assert any("are longer than 1 s and cropped to the middle" in event.text
               for event in events if isinstance(event, Notice))  # fmt: skip


def test_a_network_that_cannot_hear_is_refused(toy_words: None, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"contains recordings, but .* takes words data"):
        list(fit(Recipe(data=str(clips), backbone="toy_encoder@random"), tmp_path / "none"))


@pytest.fixture
def toy_words(tmp_path: Path):
    from toy_texts.installed import installed

    with installed(tmp_path / "installed"):
        yield


@pytest.mark.slow
def test_an_hour_is_gone_through_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    import soundfile

    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 44100, 2, "PCM_16") as file:
        for _ in range(60):
            file.write(np.stack([tones(44100, 60.0)] * 2, axis=1))
    sound = MODALITIES.get("sound")
    tracemalloc.start()
    found = sound.fingerprint(sound.given(path))
    record, _ = sound.load(sound.given(path), sound.Preparation(seconds=2.0, step_seconds=2.0), None, 1799)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["seconds"] == 3600
    assert record["mel"].shape == (80, 200)
    assert peak < 60e6
