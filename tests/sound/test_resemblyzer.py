"""Resemblyzer: the package's own embeddings, from the same prepared input; new speakers are told apart by it."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from bundles.delivery import with_module
from bundles.test_exports import exported
from bundles.test_exports_modalities import near, same_as_regraft
from problems import opened
from regraft.activations.disk import Memo
from regraft.activations.runner import Prefixes
from regraft.backbones.packages import PACKAGED, installed
from regraft.bundles.bundle import load
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES
from regraft.errors import BadRequest
from regraft.modalities.sound.prepare import VOICE
from regraft.recipe import Recipe
from regraft.values import Notice
from regraft.workbench.fit import fit
from sound.test_sound_features import contents, noisy_tones, tones, wav

SOUND = MODALITIES.get("sound")
needs_package = pytest.mark.skipif(not installed(PACKAGED["resemblyzer"]), reason="Resemblyzer is not installed")


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own encoder; what only its reading of files needs stands empty."""
    for name in ("librosa", "webrtcvad", "scipy.ndimage.morphology"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["scipy.ndimage.morphology"].binary_dilation = None  # type: ignore[attr-defined]
    yield import_module("resemblyzer.voice_encoder").VoiceEncoder("cpu", verbose=False)
    for name in [one for one in sys.modules if one.startswith("resemblyzer")]:
        del sys.modules[name]


def pieces(seconds: float, card: Card) -> torch.Tensor:
    """A voice of some length, in pieces as the modality prepares them."""
    data = contents(wav(np.clip(np.tile(noisy_tones(), 3)[: round(16000 * seconds)] * 0.01, -1, 1)))
    count = SOUND.pieces(data, card.preparation)
    return torch.from_numpy(np.stack([SOUND.load(data, card.preparation, None, at)[0]["power"] for at in range(count)]))


@needs_package
@pytest.mark.parametrize("seconds", [0.5, 4.5])
def test_the_embedding_is_the_packages_own_of_the_same_input(seconds: float, theirs: Any) -> None:
    backbone = opened("resemblyzer@package")
    network, power = backbone.network, pieces(seconds, backbone.card)
    assert len(power) == (1 if seconds < 1.6 else 5)
    with torch.no_grad():
        expected = theirs(power)
        whole = expected.mean(dim=0) / expected.mean(dim=0).norm()
        for cut in backbone.cuts:
            state = network.run(network.run({"power": power}, upto=cut), after=cut)
            found = network.readouts(state)["pooled"]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.mean(dim=0) / found.mean(dim=0).norm(), whole, rtol=1e-5, atol=1e-6)
    starts = [one.start for one in theirs.compute_partial_slices(round(16000 * seconds), 1.3, 0.75)[1]]
    assert starts == [77 * at for at in range(len(starts))]


def test_the_power_in_mel_bands_is_that_of_a_reference() -> None:
    from regraft.backbones.transformers import library

    library()
    audio = pytest.importorskip("transformers.audio_utils", reason="the reference is transformers' spectrogram")
    card, samples = opened("resemblyzer@random").card, noisy_tones()[:25600]
    bands = audio.mel_filter_bank(201, 40, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    window = audio.window_function(400, "hann")
    wanted = audio.spectrogram(samples, window, 400, 160, pad_mode="constant", power=2.0, mel_filters=bands)
    found = card.preparation.record(card.preparation.features(samples))["power"]
    np.testing.assert_allclose(found, wanted.T[:160], rtol=1e-4, atol=1e-4 * wanted.max())


def test_a_quiet_voice_is_amplified_and_silence_is_not() -> None:
    prepared = opened("resemblyzer@random").card.preparation
    at_level = noisy_tones() * np.float32(VOICE / np.sqrt(np.mean(noisy_tones()[:25600] ** 2)))
    wanted = prepared.features(at_level)
    np.testing.assert_allclose(prepared.features(at_level / 50), wanted, rtol=1e-3)
    np.testing.assert_allclose(prepared.features(4 * at_level), 16 * wanted, rtol=1e-3)
    assert not prepared.features(np.zeros(8000, dtype=np.float32)).any()


def test_the_card_agrees_with_the_network_and_onnx_runtime_with_torch(tmp_path: Path) -> None:
    backbone = opened("resemblyzer@random")
    card, network = backbone.card, backbone.network
    assert Card.from_json(card.to_json()) == card
    assert tuple(network.stages) == card.stages == ("lstm.0", "lstm.1", "lstm.2", "embedding")
    power, cuts = pieces(2.0, card), backbone.cuts[1:]
    prefixes = Prefixes(backbone, SOUND.shapes(card.preparation), view="pooled", memo=Memo(tmp_path), threads=1)
    runner = prefixes.runner(cuts)
    assert runner.name.startswith("onnxruntime-"), prefixes.notices
    found = runner({"power": power.numpy()})
    with torch.no_grad():
        for cut in cuts:
            state = network.run({"power": power}, upto=cut)
            wanted = network.readouts(state)["pooled"] if cut == "output" else state["hidden"]
            np.testing.assert_allclose(
                found[cut]["pooled" if cut == "output" else "hidden"], wanted.numpy(), rtol=0, atol=1e-5
            )


def test_speakers_are_verified_trained_above_a_cut_and_what_is_odd_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for speaker in range(16):
        folder = tmp_path / "voices" / f"voice{speaker}"
        folder.mkdir(parents=True)
        for clip in range(3):
            samples = tones(8000, 0.5 + 0.8 * clip, tuple(np.array([250.0, 700.0]) * (1 + 0.2 * speaker)))
            samples = samples + random.normal(0, 0.02, len(samples))
            (folder / f"{clip}.wav").write_bytes(wav(np.clip(samples, -1, 1), 8000))
    (tmp_path / "voices" / "voice0" / "silent.wav").write_bytes(wav(np.zeros(8000), 8000))
    (tmp_path / "voices" / "voice1" / "damaged.wav").write_bytes(b"RIFF but no sound")
    recipe = Recipe(
        data=str(tmp_path / "voices"), task="verification", backbone="resemblyzer@random", strategy="partial",
        threads=1, views=1, options={"epochs": 1, "min_steps": 0, "batch": 8},
    )  # fmt: skip
    *events, done = fit(recipe, tmp_path / "run")
    said = " ".join(event.text for event in events if isinstance(event, Notice))
    for words in ("damaged.wav", "are silent", "silent.wav", "different sampling rate"):
        assert words in said
    assert done.report.strategy.cut == "lstm.1"
    (found,) = load(done.path, verify=True).predict(tmp_path / "voices" / "voice0" / "2.wav")
    assert np.linalg.norm(found.record) == pytest.approx(1, abs=1e-4)


def test_an_export_of_one_piece_embeds_the_same_and_one_of_several_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    backbone = opened("resemblyzer@random")
    path = tmp_path / "voice.wav"
    path.write_bytes(wav(tones(22050, 1.2), 22050))
    several = with_module(backbone, "verification", ("a", "b"), tmp_path / "two", 1.0)
    with pytest.raises(BadRequest, match="several pieces"):
        exported(several, "onnx", tmp_path / "refused")
    card = replace(backbone.card, preparation=replace(backbone.card.preparation, step_seconds=0.0))
    bundle = with_module(replace(backbone, card=card), "verification", ("a", "b"), tmp_path / "one", 1.0)
    (found,), (wanted,) = same_as_regraft(bundle, tmp_path, path), bundle.predict(path)
    near(found["record"], wanted.record)
