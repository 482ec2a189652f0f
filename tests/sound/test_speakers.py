"""Speakers are verified by the task that verifies anybody: those tested were never heard in training."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from regraft.bundles.bundle import load
from regraft.recipe import Recipe
from regraft.workbench.fit import fit
from sound.test_sound_features import tones, wav

SPEAKERS, CLIPS = 16, 5


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each voice: two tones of its own, in noise, a little off every time."""
    root = tmp_path_factory.mktemp("voices")
    for speaker in range(SPEAKERS):
        own = np.random.default_rng(speaker).uniform(200, 3500, 2)
        (root / f"voice{speaker:02}").mkdir()
        for clip in range(CLIPS):
            random = np.random.default_rng([speaker, clip])
            samples = tones(8000, 0.5, tuple(own * random.uniform(0.97, 1.03, 2))) + random.normal(0, 0.05, 4000)
            (root / f"voice{speaker:02}" / f"{clip}.wav").write_bytes(wav(np.clip(samples, -1, 1), 8000))
    return root


def test_new_speakers_are_told_apart_and_the_saved_model_embeds_them(voices: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=str(voices), task="verification", backbone="googlenet:tiny@random", input_px=64, threads=1,
                    prepare={"seconds": 0.5})  # fmt: skip
    *_, done = fit(recipe, tmp_path / "run")
    section = next(iter(done.report.evaluation.values()))
    assert section.main_metric == "pair_auroc"
    assert section.metrics["pair_auroc"].value > 0.8
    first, same, another = load(done.path).predict([voices / name for name in
                                                    ("voice00/0.wav", "voice00/1.wav", "voice01/0.wav")])  # fmt: skip
    assert np.dot(first.record, same.record) > np.dot(first.record, another.record)
