"""A shipped network is pretrained again by a teacher: stopped and gone on with, and its average shipped."""

import io
import sys
import tarfile
from pathlib import Path

import distill
import numpy as np
import pytest
import ship
from PIL import Image

from regraft.backbones import shipped as in_package
from regraft.backbones.shipped import shipped_weights
from regraft.bundle_format import read_json, read_tensors


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty noisy images in archives, as the corpus has them."""
    root, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    (root / "classes.txt").write_text("light\nwarm\n")
    for shard in ("train-0", "train-1", "train-2", "train-3", "val"):
        with tarfile.open(root / f"{shard}.tar.gz", "w:gz") as archive:
            for at in range(8):
                content = io.BytesIO()
                Image.fromarray(random.integers(0, 255, (70, 80, 3), dtype=np.uint8)).save(content, "JPEG")
                member = tarfile.TarInfo(f"{('light', 'warm')[at % 2]}/{shard}_{at}.jpg")
                member.size = content.tell()
                content.seek(0)
                archive.addfile(member, content)
    return root


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, corpus: Path, until: int) -> Path:
    """Go on with the run in `folder` until so many images are seen."""
    settings = '{"batch": 8, "sides": [64], "bf16": false}'
    asked = ["googlenet", str(folder), "--until", str(until), "--set", settings, "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["distill.py", *asked, "--corpus", str(corpus)])
    distill.main()
    return folder / "googlenet"


def test_a_run_goes_on_where_it_was_and_its_average_can_be_shipped(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "TEACHER", "googlenet")
    monkeypatch.setattr(distill, "TEACHER_PX", 64)
    monkeypatch.setattr(distill, "MEASURED", 16)
    whole = run(monkeypatch, tmp_path / "whole", corpus, 24)
    run(monkeypatch, tmp_path / "parts", corpus, 16)
    parts = run(monkeypatch, tmp_path / "parts", corpus, 24)
    tensors = [read_tensors(folder / "export" / "googlenet.safetensors") for folder in (whole, parts)]
    for name, array in tensors[0].items():
        np.testing.assert_allclose(array, tensors[1][name], rtol=1e-2, atol=1e-5, err_msg=name)
    assert read_json(parts / "export" / "googlenet.json")["seen"] == 24

    for module in (in_package, ship):
        monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    monkeypatch.setattr(ship, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["ship.py", str(parts), "--corpus", str(tmp_path / "none"), "--input-px", "128"])
    ship.main()
    found = shipped_weights("googlenet")
    assert found is not None
    found.check()
    assert found.card.trained_on.endswith("taught by googlenet:bn@shipped")
    assert "they were taught by googlenet:bn@shipped" in found.card.licence
    assert found.recipe["seen"] == 24
    assert found.card.input_px == (128, 128)
