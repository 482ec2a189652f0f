"""Whisper's encoder: the same numbers as transformers' own, its weights out of the package, digits of a new speaker."""

import csv
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from problems import opened
from regraft.backbones._ctranslate2 import read_ctranslate2
from regraft.backbones.packages import PACKAGED, installed
from regraft.errors import WeightsError
from regraft.nn.whisper import WhisperEncoder, sinusoids
from regraft.recipe import Recipe, Source
from regraft.workbench.fit import fit

NAME = "whisper_tiny_en"
needs_package = pytest.mark.skipif(not installed(PACKAGED[NAME]), reason="the extra `whisper` is not installed")


def test_every_cut_goes_on_to_the_same_tokens() -> None:
    backbone = opened(f"{NAME}@random")
    network = backbone.network
    mel = {"mel": torch.randn(2, 80, 60, generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        whole = network.run(mel)
        assert whole["hidden"].shape == (2, 30, 384)
        for cut in backbone.cuts[1:-1]:
            again = network.run(network.run(mel, upto=cut), after=cut)
            torch.testing.assert_close(again["hidden"], whole["hidden"], rtol=0, atol=0)


def test_positions_are_the_papers() -> None:
    found = sinusoids(1500, 384)
    assert found.shape == (1500, 384)
    assert torch.allclose(found[7, 0], torch.tensor(7.0).sin())
    assert torch.allclose(found[7, 192], torch.tensor(7.0).cos())


@pytest.mark.slow
def test_the_encoder_is_transformers_own() -> None:
    from regraft.nn.torchvision import torchvision_models

    torchvision_models()  # declares what transformers would miss
    transformers = pytest.importorskip("transformers", reason="the reference is transformers' encoder")
    config = transformers.WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=256, max_source_positions=50,
        num_mel_bins=80,
    )  # fmt: skip
    theirs = transformers.WhisperModel(config).encoder.eval()
    ours = WhisperEncoder(width=64, layers=2, heads=4, positions=50).eval()
    ours.load_state_dict(theirs.state_dict())
    mel = torch.randn(2, 80, 100)
    with torch.no_grad():
        torch.testing.assert_close(ours(mel), theirs(mel).last_hidden_state, rtol=1e-5, atol=1e-5)


def test_a_damaged_file_of_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\6\0\0\0\x0c\0Whisper")
    with pytest.raises(WeightsError, match="is not a valid CTranslate2 model"):
        read_ctranslate2(tmp_path / "model.bin")


@needs_package
def test_the_package_holds_every_tensor_of_the_encoder() -> None:
    backbone = opened(f"{NAME}@package")
    tensors = backbone.tensors()
    assert tensors["conv/body.conv1.weight"].shape == (384, 80, 3)
    assert (
        np.abs(tensors["conv/body.positions.weight"] - sinusoids(1500, 384).numpy()).max() < 1e-3
    )  # float16 in the file
    assert all(np.isfinite(one).all() and one.std() > 0 for one in tensors.values())
    assert backbone.card.licence.startswith("MIT")


@needs_package
@pytest.mark.slow
def test_a_probe_knows_the_digits_of_a_speaker_who_was_not_heard(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "spoken_digits.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    folder = tmp_path / "spoken_digits"
    with (folder / "metadata.csv").open(newline="") as file, (folder / "few.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "group", "split"])
        for row in csv.DictReader(file):
            if int(row["index"]) < 10:
                split = "test" if row["speaker"] == "theo" else "train"
                writer.writerow([row["file"], row["digit"], row["speaker"], split])
    source = Source(folder="recordings")
    *_, done = fit(Recipe(data=str(folder / "few.csv"), backbone=f"{NAME}@package", source=source), tmp_path / "run")
    assert done.report.evaluation["test"].metrics["accuracy"].value >= 0.95
