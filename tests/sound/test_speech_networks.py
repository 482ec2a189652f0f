"""wav2vec 2.0, HuBERT and AST cut into stages equal the library's own forward, padded batches included."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
pytest.importorskip("transformers", reason="the extra `text` is not installed")

from bundles.test_exports_modalities import same_as_regraft
from problems import opened
from regraft.activations.disk import Memo
from regraft.activations.runner import Prefixes
from regraft.backbones.backbone import Backbone
from regraft.backbones.transformers import RENAMED
from regraft.bundle_format import read_tensors
from regraft.bundles.bundle import load
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES, View
from regraft.errors import BadRequest
from regraft.recipe import Recipe, Source
from regraft.values import Notice
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from sound.test_sound_features import contents, tones, wav
from speech import CONFIGS, folder_of, original

SOUND = MODALITIES.get("sound")
CLIPS = (0.9, 0.3, 0.02)
"""Seconds of each clip; the last is shorter than what one token needs."""


def some(*quick: str) -> list[Any]:
    """Every network, of which these are for the default tier."""
    return [pytest.param(one, marks=[] if one in quick else pytest.mark.slow) for one in CONFIGS]


@pytest.fixture(scope="module", params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(name: str, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return opened(f"transformers:{folder_of(name, tmp_path_factory.mktemp('net') / 'net')}@pretrained")


def clip(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(round(100 * seconds)).normal(0, 0.05, round(16000 * seconds))
    return np.rint(32767 * np.clip(0.3 * tones(16000, seconds) + noise + 0.02, -1, 1)) / 32768


def prepared(backbone: Backbone) -> dict[str, torch.Tensor]:
    """A batch of the clips as the modality prepares them."""
    records = [SOUND.load(contents(wav(clip(one) * 32768 / 32767)), backbone.card.preparation, None)[0]
               for one in CLIPS]  # fmt: skip
    return {name: torch.from_numpy(np.stack([one[name] for one in records])) for name in records[0]}


def by_the_library(name: str, backbone: Backbone) -> Any:
    """What its own extractor and network make of the clips, and which tokens are not padding."""
    from regraft.backbones.transformers import library

    transformers, length = library(), 16000 * 3
    samples = [clip(one).astype(np.float32) for one in CLIPS]
    if name == "ast":
        told = {"mean": -5.0, "std": 3.0, "max_length": 96, "num_mel_bins": 48}
        made = transformers.ASTFeatureExtractor(**told)(
            [np.pad(one, (0, max(0, 400 - len(one)))) for one in samples], sampling_rate=16000, return_tensors="pt"
        )
        found = original(name)(made["input_values"])
        return found.last_hidden_state, torch.ones(found.last_hidden_state.shape[:2], dtype=torch.bool)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    made = extractor(samples, sampling_rate=16000, return_tensors="pt", padding="max_length", max_length=length)
    net = original(name)
    # The last clip has no token of its own, for which the library's mask would wrap around: it is given one.
    heard = made["attention_mask"].clone()
    heard[:, :496] = 1
    kept = net._get_feature_vector_attention_mask(net.feature_extractor(made["input_values"]).shape[2], heard)
    masked = {"attention_mask": heard} if "layer" in name else {}
    return net(made["input_values"], **masked).last_hidden_state, kept


def test_every_cut_gives_the_librarys_tokens_through_stored_arrays(name: str, backbone: Backbone) -> None:
    inputs, network = prepared(backbone), backbone.network
    with torch.no_grad():
        expected, kept = by_the_library(name, backbone)
        assert expected.std() > 0.01
        for cut in backbone.cuts:
            state = network.run(inputs, upto=cut)
            stored = {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()}
            found = network.readouts(network.run(stored, after=cut))
            torch.testing.assert_close(found["tokens"][kept], expected[kept], rtol=1e-4, atol=1e-4)
            pooled = [row[:2].mean(0) if name == "ast" else row[own].mean(0)
                      for row, own in zip(expected, kept, strict=True)]  # fmt: skip
            torch.testing.assert_close(found["pooled"], torch.stack(pooled), rtol=1e-4, atol=1e-4)


def test_a_row_alone_gives_the_same(backbone: Backbone) -> None:
    inputs, network = prepared(backbone), backbone.network
    with torch.no_grad():
        together = network.readouts(network.run(inputs))["pooled"]
        for row in range(len(CLIPS)):
            alone = network.readouts(network.run({name: one[row : row + 1] for name, one in inputs.items()}))["pooled"]
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


def test_the_card_says_what_the_network_is(name: str, backbone: Backbone) -> None:
    card = backbone.card
    conv = () if name == "ast" else ("conv",)
    assert card.stages == (*conv, "embeddings", "layer.0", "layer.1", "layer.2")
    assert (card.width, card.partial_cut, card.modality) == (32, "layer.1", "sound")
    assert card.preparation.form == ("fbank" if name == "ast" else "samples")
    assert Card.from_json(card.to_json()) == card
    assert tuple(backbone.network.stages) == card.stages


@pytest.mark.parametrize("name", some("wav2vec2 of layer norms", "ast"), indirect=True)
def test_onnx_runtime_gives_the_same_at_every_cut(backbone: Backbone, tmp_path: Path) -> None:
    inputs, cuts = prepared(backbone), backbone.cuts[1:]
    shapes = SOUND.shapes(backbone.card.preparation)
    prefixes = Prefixes(backbone, shapes, view="pooled", memo=Memo(tmp_path), threads=1)
    runner = prefixes.runner(cuts)
    assert runner.name.startswith("onnxruntime-"), prefixes.notices
    found = runner({name: one.numpy() for name, one in inputs.items()})
    with torch.no_grad():
        for cut in cuts:
            state = backbone.network.run(inputs, upto=cut)
            wanted = {"pooled": backbone.network.readouts(state)["pooled"]} if cut == "output" else state
            assert set(found[cut]) == set(wanted)
            for name, tensor in wanted.items():
                scale = float(tensor.float().abs().max())
                np.testing.assert_allclose(found[cut][name], tensor.numpy(), rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["wav2vec2", "ast"], indirect=True)
def test_files_with_older_names_a_head_or_what_pretraining_needed_are_the_same_network(
    name: str, backbone: Backbone, tmp_path: Path
) -> None:
    folder = folder_of(name, tmp_path / "net")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if name == "ast":
        top, head = "audio_spectrogram_transformer.", {"classifier.dense.weight": torch.ones(4, 32)}
        older = {new: old for old, new in RENAMED["audio-spectrogram-transformer"].items()}
    else:
        top, head = "wav2vec2.", {"quantizer.codevectors": torch.ones(1, 4, 8), "project_q.weight": torch.ones(4, 4)}
        older = {new: old for old, new in RENAMED["wav2vec2"].items()}
    for new, old in older.items():
        tensors = {one if old in one else one.replace(new, old): tensor for one, tensor in tensors.items()}
    assert any(next(iter(older.values())) in one for one in tensors)
    save_file({**{top + one: tensor for one, tensor in tensors.items()}, **head}, path)
    assert opened(f"transformers:{folder}@pretrained").stage_digests == backbone.stage_digests


def test_networks_that_cannot_be_cut_are_refused_with_the_reason(tmp_path: Path) -> None:
    folder = folder_of("wav2vec2", tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "add_adapter": True}))
    with pytest.raises(BadRequest, match="has an adapter after its layers"):
        opened(f"transformers:{folder}@random")
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "wav2vec9"}))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadRequest, match=r"the type 'wav2vec9'") as refused:
        opened(f"transformers:{folder}@pretrained")
    assert "audio-spectrogram-transformer" in refused.value.fix


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones of other rates and lengths: one stereo, one clipped, one silent, one longer than a piece, one
    damaged and one empty."""
    root, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label, hertz in (("low", 300.0), ("high", 2400.0)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for at in range(count):
                rate = (8000, 16000, 22050)[at % 3]
                samples = tones(rate, random.uniform(0.2, 0.6), (hertz * random.uniform(0.9, 1.1),))
                samples = samples + random.normal(0, 0.02, len(samples))
                (folder / f"{at}.wav").write_bytes(wav(np.clip(samples, -1, 1), rate))
    low = root / "train" / "low"
    both = np.stack([tones(8000, 0.5, (310.0,)), tones(8000, 0.5, (290.0,))], axis=1)
    odd = {
        "stereo": both,
        "clipped": np.clip(5 * both[:, 0], -1, 1),
        "silent": np.zeros(4000),
        "long": np.tile(both, (5, 1)),
    }
    for name, samples in odd.items():
        (low / f"{name}.wav").write_bytes(wav(samples, 8000))
    (low / "damaged.wav").write_bytes(b"RIFF but no sound")
    (low / "empty.wav").write_bytes(b"")
    return root


SAID = ("damaged.wav", "empty.wav", "are silent", "silent.wav", "are clipped", "clipped.wav", "several channels",
        "different sampling rate", "cropped to the middle", "long.wav")  # fmt: skip


@pytest.mark.parametrize("name", some("wav2vec2 of layer norms"), indirect=True)
def test_above_a_cut_it_is_trained_what_is_odd_is_named_and_the_saved_model_and_its_export_say_the_same(
    name: str, backbone: Backbone, clips: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        data=str(clips), backbone=f"transformers:{backbone.card.variant}@pretrained", strategy="partial", threads=1,
        prepare={"seconds": 0.8}, views=1, options={"epochs": 2, "min_steps": 0, "batch": 8}, dtype="float32",
        source=Source(max_damaged_share=0.1),
    )  # fmt: skip
    *events, done = fit(recipe, tmp_path / "run")
    assert isinstance(done, RunDone)
    said = " ".join(event.text for event in events if isinstance(event, Notice))
    assert not [words for words in SAID if words not in said]
    assert done.report.strategy.cut == "layer.1"
    saved, before = read_tensors(tmp_path / "run" / "model" / "model.safetensors"), backbone.tensors()
    for one, tensor in before.items():
        if not one.startswith("layer.2/"):
            np.testing.assert_array_equal(saved[one], tensor)
    assert any(not np.array_equal(saved[one], before[one]) for one in before if one.startswith("layer.2/"))

    bundle, files = load(done.path, verify=True), sorted((clips / "test").rglob("*.wav"))
    with (done.path / "predictions.csv").open(newline="") as file:
        told = {row["id"]: float(row["p:low"]) for row in csv.DictReader(file) if row["split"] == "test"}
    for path, one in zip(files, bundle.predict(files), strict=True):
        assert one.probabilities["low"] == pytest.approx(told[path.relative_to(clips).as_posix()], abs=1e-4)
    for bad, why in (("damaged", "libsndfile"), ("empty", "0 bytes")):
        (unread,) = bundle.predict(clips / "train" / "low" / f"{bad}.wav")
        assert why in unread.error
    (found,) = same_as_regraft(bundle, tmp_path, files[0])
    assert found["probabilities"] == pytest.approx(bundle.predict(files[0])[0].probabilities, abs=1e-5)


@pytest.mark.parametrize("name", ["wav2vec2", "ast"], indirect=True)
def test_an_hour_is_heard_in_pieces_and_a_piece_is_what_the_clip_alone_would_be(
    name: str, backbone: Backbone, tmp_path: Path
) -> None:
    import soundfile

    path, one = tmp_path / "hour.flac", clip(0.9)
    soundfile.write(path, np.zeros(16000 * 3600, dtype=np.int16), 16000)  # a flac of silence is small
    card = replace(backbone.card.preparation, seconds=0.9, step_seconds=0.9)
    assert SOUND.pieces(SOUND.given(path), card) == 4000
    record, _ = SOUND.load(SOUND.given(path), card, None, 3999)
    assert all(np.isfinite(array).all() for array in record.values())
    twice = contents(wav(np.concatenate([one, one]) * 32768 / 32767))
    alone, _ = SOUND.load(contents(wav(one * 32768 / 32767)), card, None)
    second, _ = SOUND.load(twice, card, None, 1)
    assert all(np.array_equal(alone[slot], second[slot]) for slot in alone)


@pytest.mark.parametrize("name", ["wav2vec2", "ast"], indirect=True)
def test_views_differ_from_the_plain_one_and_end_where_the_clip_ends(name: str, backbone: Backbone) -> None:
    data, card = contents(wav(clip(0.3))), backbone.card.preparation
    view = View(number=1, seed=0, content="aa", augmentation=SOUND.augmentation("strong", {"speed": 0.0, "shift": 0.0}))
    plain, made = (SOUND.load(data, card, one)[0] for one in (None, view))
    first = next(iter(plain))
    assert not np.allclose(plain[first], made[first])
    end = 4800 if name == "wav2vec2" else 28
    assert not plain[first][end:].any()
    assert not made[first][end:].any()


@pytest.mark.parametrize("name", ["ast"], indirect=True)
def test_pieces_longer_than_the_network_hears_are_refused(
    name: str, backbone: Backbone, clips: Path, tmp_path: Path
) -> None:
    recipe = Recipe(data=str(clips), backbone=f"transformers:{backbone.card.variant}@pretrained", threads=1,
                    prepare={"seconds": 2.0}, source=Source(max_damaged_share=0.1))  # fmt: skip
    with pytest.raises(BadRequest, match=r"2 s long, and this network hears at most 0\.96 s"):
        list(fit(recipe, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hubert", "ast"], indirect=True)
def test_on_the_page_a_recording_or_the_microphone_is_tried(
    name: str, backbone: Backbone, clips: Path, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    pytest.importorskip("python_multipart", reason="the extra `serve` is not installed")
    from starlette.testclient import TestClient

    from doors.serving import form
    from regraft.doors.ui.app import web_app
    from regraft.doors.ui.guard import form_token

    recipe = Recipe(
        data=str(clips), backbone=f"transformers:{backbone.card.variant}@pretrained", threads=1,
        prepare={"seconds": 0.8}, source=Source(max_damaged_share=0.1),
    )  # fmt: skip
    *_, done = fit(recipe, tmp_path / "runs" / "heard")
    (wanted,) = load(done.path).predict(clips / "test" / "low" / "0.wav")
    app = web_app(tmp_path, "127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1:8001", headers={"Accept": "text/html"}) as client:
        client.get("/", params={"token": app.key})
        client.headers["X-Regraft-Token"] = form_token(app.key)
        assert 'data-device="microphone"' in client.get("/runs/heard").text
        recorded = (
            clips / "test" / "low" / "0.wav"
        ).read_bytes()  # what the page sends of the microphone is a wav file
        body, kind = form({"microphone.wav": recorded})
        said = client.post("/runs/heard/predict", content=body, headers={"Content-Type": kind}).text
        assert "microphone.wav" in said
        assert wanted.label in said
        body, kind = form({"damaged.wav": b"RIFF but no sound"})
        assert "libsndfile" in client.post("/runs/heard/predict", content=body, headers={"Content-Type": kind}).text
