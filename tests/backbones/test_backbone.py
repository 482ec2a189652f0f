"""A backbone whose file of tensors is not the one that its card describes."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from problems import opened
from regraft.backbones.backbone import Backbone
from regraft.bundle_format import write_tensors
from regraft.errors import WeightsMismatch


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    return opened("googlenet:tiny@random", 32)


def changed(backbone: Backbone, path: Path) -> str:
    """Write the backbone's tensors to `path`, one of them with another shape; returns its name."""
    stored = backbone.tensors()
    name = next(iter(stored))
    write_tensors(path, {**stored, name: np.zeros(3, np.float32)})
    return name


def test_a_cached_conversion_that_does_not_match_names_the_folder_whose_deletion_mends_it(backbone: Backbone) -> None:
    before, folder = backbone.tensors(), backbone.tensors_path.parent
    name = changed(backbone, backbone.tensors_path)
    with pytest.raises(WeightsMismatch, match=rf"{re.escape(name)} is of shape \(3,\)") as raised:
        backbone.fresh_network()
    assert raised.value.fix.startswith(f"delete the folder {folder};")
    shutil.rmtree(folder)
    again = opened("googlenet:tiny@random", 32)
    assert again.fresh_network().tensors().keys() == before.keys()


def test_a_saved_model_that_does_not_match_is_not_to_be_deleted(backbone: Backbone, tmp_path: Path) -> None:
    changed(backbone, tmp_path / "model.safetensors")
    with pytest.raises(WeightsMismatch) as raised:
        replace(backbone, tensors_path=tmp_path / "model.safetensors").fresh_network()
    assert "copy the model again" in raised.value.fix


def test_a_fresh_network_holds_the_tensors_of_its_file_and_nothing_unfilled(backbone: Backbone) -> None:
    before = torch.get_rng_state()
    network = backbone.fresh_network()
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in network.tensors().items():
        assert np.array_equal(tensor.detach().numpy(), backbone.tensors()[name]), name
    for module in network.modules():
        assert all(parameter.requires_grad for parameter in module.parameters())
        assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    again = backbone.fresh_network().tensors()
    assert not any(again[name].data_ptr() == tensor.data_ptr() for name, tensor in network.tensors().items())
