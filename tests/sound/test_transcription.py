"""Speech to text: Whisper's encoder and decoder cut anywhere, trained, measured by word errors, saved and asked."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
pytest.importorskip("transformers", reason="the extra `text` is not installed")

from problems import opened
from regraft.activations.slots import masked
from regraft.backbones.backbone import Backbone
from regraft.backbones.packages import PACKAGED, installed
from regraft.bundle_format import read_tensors
from regraft.bundles.bundle import load
from regraft.contracts.example import SHOWN, Inline
from regraft.contracts.modality import MODALITIES
from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRecipe, BadRequest
from regraft.recipe import Recipe
from regraft.values import Notice
from regraft.workbench.evaluate import evaluate
from regraft.workbench.export import export
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from sound.test_sound_features import tones, wav
from texts import whisper_folder, whisper_network

SOUND = MODALITIES.get("sound")
WORDS = {"apple": 300.0, "pear": 1200.0, "plum": 3000.0}
SHOWN_LENGTHS = (3, 8, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper_folder(tmp_path_factory.mktemp("net") / "whisper")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    return opened(f"seq2seq:{folder}@pretrained")


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    """Three rows; the decoder's tokens are padded."""
    random = np.random.default_rng(0)
    shown = torch.from_numpy(random.integers(4, 20, (3, max(SHOWN_LENGTHS)))).int()
    shown[:, 0] = 2
    shown *= torch.arange(max(SHOWN_LENGTHS))[None] < torch.tensor(SHOWN_LENGTHS)[:, None]
    return {"mel": torch.from_numpy(random.normal(size=(3, 80, 100)).astype(np.float32)), "decoder": shown}


def stored(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the store gives it back: through arrays, with the mask of the rows' lengths."""
    arrays = masked({name: tensor.numpy().copy() for name, tensor in state.items()}, np.array(SHOWN_LENGTHS))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def test_every_cut_gives_the_librarys_logits_and_its_texts(backbone: Backbone, inputs: dict[str, torch.Tensor]) -> None:
    from regraft.backbones.transformers import library

    network, net = backbone.network, whisper_network()
    assert network.source_head is not None
    assert network.generate is not None
    told = {"num_beams": 2, "max_new_tokens": 9, "prompt": (1,)}
    with torch.no_grad():
        expected = net(input_features=inputs["mel"], decoder_input_ids=inputs["decoder"].long()).logits
        memory = net.model.encoder(inputs["mel"])
        written: Any = library().GenerationMixin.generate(
            net, encoder_outputs=memory, decoder_input_ids=torch.tensor([[2, 1]] * 3), do_sample=False, num_beams=2,
            max_new_tokens=9,
        )  # fmt: skip
        for cut in backbone.cuts:
            state = stored(dict(network.run(inputs, upto=cut)))
            found = network.source_head(network.readouts(network.run(state, after=cut))["tokens"])
            for row, length in enumerate(SHOWN_LENGTHS):
                torch.testing.assert_close(found[row, :length], expected[row, :length], rtol=1e-4, atol=1e-4)
            keep = backbone.card.generates_from if cut == "output" else ()
            state = stored(dict(network.run(inputs, upto=cut, keep=keep)))
            texts = network.generate(network, state, cut, network.source_head, told)
            assert texts.tolist() == written[:, 2:].tolist()


def test_a_target_begins_with_the_prompt_and_the_decoder_sees_it_shifted(backbone: Backbone) -> None:
    card = backbone.card
    assert (card.modality, card.preparation.prompt, card.preparation.seconds) == ("sound", (1,), 1.0)
    target = card.preparation.target("apple the pear")
    assert (target[0], target[-1], len(target)) == (1, 3, 5)
    clip = {"file": Inline(wav(tones(8000, 0.3), 8000))}
    assert SOUND.load(clip, card.preparation, None)[0]["decoder"].tolist() == [2, 1]
    shown = {**clip, SHOWN: Inline("apple the pear")}
    assert SOUND.load(shown, card.preparation, None)[0]["decoder"].tolist() == [2, *target[:-1]]
    assert SOUND.identity(shown) != SOUND.identity(clip)
    assert card.preparation.texts([target[1:]]) == ["apple the pear"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of one to three tones, each of which stands for a word, with a text beside each; 8 of 32 are tested."""
    root, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for at in range(32):
        where = root / ("train" if at % 4 else "test") / f"{at}.wav"
        where.parent.mkdir(exist_ok=True)
        words = random.choice(list(WORDS), random.integers(1, 4)).tolist()
        samples = np.concatenate([tones(8000, 0.25, (WORDS[word],)) for word in words])
        where.write_bytes(wav(np.clip(samples + random.normal(0, 0.02, len(samples)), -1, 1), 8000))
        where.with_suffix(".txt").write_text(" ".join(words) + "\n")
    return root


@pytest.fixture(scope="module")
def done(folder: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    recipe = Recipe(
        data=str(clips), backbone=f"seq2seq:{folder}@pretrained", strategy="finetune", cut="layer.1", threads=1,
        options={"epochs": 12, "min_steps": 0, "lr": 1e-2, "batch": 8, "head_lr_factor": 1.0, "decay": 1.0},
        prepare={"max_target_tokens": 8}, dtype="float32",
    )  # fmt: skip
    *_, last = fit(recipe, tmp_path_factory.mktemp("runs") / "run")
    assert isinstance(last, RunDone)
    return last


def test_above_a_cut_it_learns_to_transcribe_and_stands_beside_the_network_before(done: RunDone) -> None:
    found = done.report.evaluation["test"]
    assert found.main_metric == "wer"
    (before,) = done.report.baselines
    assert before.title == "The network before training"
    assert found.metrics["wer"].value < before.evaluation.metrics["wer"].value - 0.1
    assert before.paired.metric == "wer"
    assert "7 and seven are different words" in (done.path / "report.md").read_text()


def test_what_is_frozen_stays_and_the_output_layer_is_trained(done: RunDone, backbone: Backbone) -> None:
    saved, before = read_tensors(done.path / "model" / "model.safetensors"), backbone.tensors()
    for name in before:
        if name.startswith(("embeddings/", "layer.0/", "layer.1/")):
            np.testing.assert_array_equal(saved[name], before[name])
    assert not np.array_equal(saved["layer.3/parts.layer.fc1.weight"], before["layer.3/parts.layer.fc1.weight"])
    assert not np.array_equal(saved["head/1.weight"], before["source/weight"])


def test_the_saved_model_writes_what_the_run_says(done: RunDone, clips: Path, tmp_path: Path) -> None:
    with (done.path / "predictions.csv").open(newline="") as file:
        told = {row["id"]: row["predicted"] for row in csv.DictReader(file) if row["split"] == "test"}
    bundle = load(done.path, verify=True)
    assert [one.label for one in bundle.predict([clips / name for name in told])] == list(told.values())
    assert list(evaluate(done.path, clips, out=tmp_path / "evaluation"))


def test_a_recording_longer_than_a_piece_is_transcribed_in_pieces_that_are_joined(
    done: RunDone, tmp_path: Path
) -> None:
    bundle, parts = load(done.path), []
    for number, words in enumerate((("apple", "pear", "plum", "pear"), ("plum", "plum", "apple", "apple"), ("pear",))):
        parts.append(np.concatenate([tones(16000, 0.25, (WORDS[word],)) for word in words]))
        (tmp_path / f"{number}.wav").write_bytes(wav(parts[-1], 16000))
    (tmp_path / "long.wav").write_bytes(wav(np.concatenate(parts), 16000))
    (tmp_path / "rest.wav").write_bytes(wav(np.concatenate([*parts[:2], parts[2][:1600]]), 16000))
    texts = [one.label for one in bundle.predict([tmp_path / f"{number}.wav" for number in range(3)])]
    assert any(texts)
    long, rest = bundle.predict([tmp_path / "long.wav", tmp_path / "rest.wav"])
    assert long.label == " ".join(filter(None, texts))
    assert rest.label == " ".join(filter(None, texts[:2])), "a rest too short for a word is left out"


def test_it_cannot_be_exported_and_the_error_says_so(done: RunDone, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="A transcription model cannot be exported"):
        list(export(done.path, "onnx", out=tmp_path / "out"))


@pytest.mark.slow
def test_served_it_writes_the_same(done: RunDone, clips: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from doors.serving import running

    files = sorted((clips / "test").glob("*.wav"))[:3]
    with running({"heard": done.path}) as server:
        found = server.predict("heard", *files).json["predictions"]
    assert [one["label"] for one in found] == [one.label for one in load(done.path).predict(files)]


def test_a_table_says_the_same_as_texts_beside_the_files(clips: Path, tmp_path: Path) -> None:
    beside = open_dataset(clips)
    assert (beside.kind, beside.modality, beside.num_examples) == ("transcription", "sound", 32)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        rows = [(clips / one.id, one.label, one.split) for one in beside.examples]
        csv.writer(file).writerows([("path", "said", "split"), *rows])
    table = open_dataset(tmp_path / "t.csv", task="transcription", label_column="said")
    assert [(one.label, one.split) for one in table.examples] == [(one.label, one.split) for one in beside.examples]


def test_transcripts_that_are_missing_or_empty_and_recordings_too_long_are_named(
    clips: Path, folder: Path, tmp_path: Path
) -> None:
    one = next((clips / "train").glob("*.wav"))
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(one.read_bytes())
    (tmp_path / "a.txt").write_text("apple")
    with pytest.raises(BadData, match=r"1 recording of 2 without a transcript: b\.wav"):
        open_dataset(tmp_path)
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(BadData, match=r"b\.txt: it is empty"):
        open_dataset(tmp_path)
    (tmp_path / "b.txt").write_text("pear " * 40)
    (tmp_path / "c.txt").write_text("of nothing")
    found = open_dataset(tmp_path)
    assert any("1 text of no recording left out: c.txt" in note.text for note in found.notes)
    card = opened(f"seq2seq:{folder}@pretrained").card
    notes = SOUND.check(found.examples, np.stack([SOUND.fingerprint(one.contents) for one in found.examples]), card)
    assert any(
        isinstance(one, Notice) and "1 text to generate truncated after 32 tokens: b.wav" in one.text for one in notes
    )
    with pytest.raises(BadRecipe, match="a transcript is one of the whole recording"):
        SOUND.Preparation(step_seconds=1.0, max_target_tokens=8, vocabulary=32)


def test_a_network_without_a_decoder_and_pieces_that_are_too_long_are_refused(
    clips: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match="has no decoder") as refused:
        list(fit(Recipe(data=str(clips), backbone="googlenet:tiny@random", input_px=64, threads=1), tmp_path / "one"))
    assert "whisper_tiny_en_transcriber@package" in str(refused.value.fix)
    long = Recipe(data=str(clips), backbone=f"seq2seq:{folder}@pretrained", prepare={"seconds": 2.0}, threads=1)
    with pytest.raises(BadRequest, match=r"2 s long, and this network hears at most 1 s"):
        list(fit(long, tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.skipif(not installed(PACKAGED["whisper_tiny_en"]), reason="the extra `whisper` is not installed")
def test_the_packages_whisper_knows_which_digits_were_said(shared_data: Path, tmp_path: Path) -> None:
    import tarfile

    import soundfile

    with tarfile.open(shared_data / "spoken_digits.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    backbone = opened("whisper_tiny_en_transcriber@package")
    network, prepared = backbone.network, backbone.card.preparation
    assert network.source_head is not None
    losses, random = np.zeros((8, 8)), np.random.default_rng(0)
    digits = random.integers(0, 10, (8, 4))
    for row, said in enumerate(digits):
        parts = [tmp_path / "spoken_digits" / "recordings" / f"{digit}_theo_{row}.wav" for digit in said]
        samples = np.concatenate([soundfile.read(part)[0] for part in parts])
        for column, asked in enumerate(digits):
            text = " ".join(names[digit] for digit in asked)
            shown = {**SOUND.given((samples, 8000)), SHOWN: Inline(text)}
            record, _ = SOUND.load(shown, prepared, None)
            with torch.no_grad():
                state = network.run({name: torch.from_numpy(array)[None] for name, array in record.items()},
                                    keep=("memory",))  # fmt: skip
                logits = network.source_head(state["hidden"])
            target = torch.tensor(prepared.target(text))
            losses[row, column] = torch.nn.functional.cross_entropy(logits[0], target)
    assert (losses.argmin(axis=1) == np.arange(8)).mean() >= 0.75
