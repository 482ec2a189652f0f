"""timm's networks as backbones, against timm's own functions."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from problems import opened
from regraft.backbones import timm as provider
from regraft.backbones._timm_stages import planned
from regraft.backbones.backbone import Backbone, family_of
from regraft.backbones.timm import facts_of
from regraft.errors import BadRequest, MissingExtra, UnknownName, WeightsMismatch

timm = provider.timm_library()

KINDS = (
    "test_resnet", "test_convnext", "test_efficientnet", "test_nfnet", "test_maxvit", "test_mambaout", "test_vit",
    "test_vit_relpos", "pit_ti_224",
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
    pytest.param("hrnet_w18_small", marks=pytest.mark.slow),
)  # fmt: skip
"""One network of each kind that timm writes in another way."""
PX = 32


def pixels(px: int, rows: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (rows, px, px, 3), dtype=np.uint8))


def timms_own(backbone: Backbone, name: str, **sizes: int) -> Any:
    """timm's network with the backbone's weights, by timm's own names."""
    made = backbone.family.build(backbone.card.buildable)
    stored = backbone.tensors()
    with torch.no_grad():
        for key, tensor in made.network.tensors().items():
            tensor.copy_(torch.from_numpy(stored[key]))
    net = timm.create_model(name, pretrained=False, num_classes=backbone.card.num_source_classes, **sizes)
    net.load_state_dict(made.original.state_dict())
    return net.eval()


@pytest.mark.parametrize("name", KINDS)
def test_features_are_those_below_timms_own_classifier_from_every_cut(name: str) -> None:
    backbone = opened(f"timm:{name}@random", PX)
    net = timms_own(backbone, name, **({"img_size": PX} if facts_of(name).sized else {}))
    inputs = {"pixels": pixels(PX)}
    with torch.no_grad():
        prepared = backbone.network.start(inputs)["hidden"]
        pooled, logits = net.forward_head(net.forward_features(prepared), pre_logits=True), net(prepared)
        assert pooled.shape[1] == backbone.card.width
        for cut in backbone.cuts:
            state = {key: value.clone() for key, value in backbone.network.run(inputs, upto=cut).items()}
            top = backbone.network.run(state, after=cut)
            torch.testing.assert_close(backbone.network.readouts(top)["pooled"], pooled, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone.network(inputs), logits, rtol=1e-4, atol=1e-5)


def test_a_grid_has_its_channels_first_whatever_timm_does() -> None:
    for name, channels in (("test_mambaout", 64), ("test_resnet", 96)):
        network = opened(f"timm:{name}@random", 64).network
        with torch.no_grad():
            readouts = network.readouts(network.run({"pixels": pixels(64)}))
        assert readouts["grid"].shape == (2, channels, 2, 2)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("test_resnet", ("stem", "layer1", "layer2", "layer3", "layer4")),
        ("test_convnext", ("stem", *(f"stages.{i}" for i in range(4)))),
        ("test_vit", ("stem", *(f"blocks.{i}" for i in range(6)))),
        ("test_mambaout", ("stem", *(f"stages.{i}" for i in range(4)))),
    ],
)
def test_a_stage_is_a_part_that_timm_names(name: str, stages: tuple[str, ...]) -> None:
    assert facts_of(name).card.stages == stages


def test_a_network_whose_parts_hand_on_more_than_one_tensor_has_no_inner_cut() -> None:
    card = facts_of("pit_ti_224").card
    assert card.cuts == ("input", "output")
    assert card.partial_cut == ""


class Straight(nn.Module):
    """What timm's networks have in common, three stages long; `leap` adds the first stage's output to the last."""

    def __init__(self, *, leap: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
        self.head = nn.Linear(4, 2)
        self.leap = leap

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stages[0](self.stem(x))
        top: Tensor = self.stages[2](self.stages[1](x))
        return top + x if self.leap else top

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = x.mean((2, 3))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


@pytest.mark.parametrize(("leap", "stages"), [(False, ("stem", "stages.0", "stages.1", "stages.2")), (True, ("body",))])
def test_stages_that_do_not_give_the_originals_output_are_not_offered(leap: bool, stages: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    groups, width = planned(Straight(leap=leap), 8)
    assert tuple(groups) == stages
    assert width == 4


class Bent(Straight):
    """Its logits are not its classifier applied to its features."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def test_a_network_that_is_no_classifier_on_features_is_refused() -> None:
    with pytest.raises(BadRequest, match="not its classifier applied to its features"):
        planned(Bent(leap=False), 8)


def test_a_network_with_two_classifiers_is_refused() -> None:
    with pytest.raises(BadRequest, match="its classifier is tuple, not one dense layer"):
        opened("timm:deit_tiny_distilled_patch16_224@random", 32)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_inputs_are_prepared_as_timm_prepares_them(name: str) -> None:
    net = timm.create_model(name, pretrained=False)
    config = timm.data.resolve_data_config(net.pretrained_cfg)
    theirs = timm.data.create_transform(**config)
    noise = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((310, 230), Image.Resampling.BICUBIC)
    card = facts_of(name).card
    ours = (card.preparation.plain(picture) / 255 - np.array(card.mean)) / np.array(card.std)
    found = theirs(picture).numpy().transpose(1, 2, 0)
    assert ours.shape == found.shape
    assert np.abs(ours - found).max() <= 1.01 / 255 / min(card.std)  # one step of a byte: the order of rows and columns


def test_position_embeddings_follow_the_input_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = timm.create_model("test_vit", pretrained=False, num_classes=5)
    path = tmp_path / "vit.pth"
    torch.save(trained.state_dict(), path)
    smaller = timm.create_model("test_vit", pretrained=False, num_classes=5, img_size=64)
    state = dict(trained.state_dict())
    resample = timm.layers.resample_abs_pos_embed
    state["pos_embed"] = resample(state["pos_embed"], new_size=[4, 4], num_prefix_tokens=trained.num_prefix_tokens)
    smaller.load_state_dict(state)
    backbone = opened(f"timm:test_vit@file:{path}", 64)
    inputs = {"pixels": pixels(64)}
    with torch.no_grad():
        expected = smaller.eval()(backbone.network.start(inputs)["hidden"])
        torch.testing.assert_close(backbone.network(inputs), expected, rtol=1e-5, atol=1e-5)
    assert backbone.card.num_source_classes == 5


@pytest.mark.parametrize("name", ["test_convnext.r160_in1k", "test_vit.r160_in1k"])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsMismatch, match=f"do not match timm:{re.escape(name)}"):
        opened(f"timm:{name}@file:{tmp_path / 'net.pth'}", 32)


def test_tensors_at_which_timms_rule_fails_are_named_by_their_shape(tmp_path: Path) -> None:
    state = dict(timm.create_model("test_vit", pretrained=False).state_dict())
    torch.save({**state, "pos_embed": torch.ones(3)}, tmp_path / "net.pth")
    with pytest.raises(WeightsMismatch, match=r"pos_embed has shape \(3,\) instead of"):
        opened(f"timm:test_vit@file:{tmp_path / 'net.pth'}", 32)


@pytest.mark.parametrize(
    ("spec", "offered"),
    [("timm:resnet1o", "'resnet18'"), ("timm:resnet10t.c3", "'resnet10t.c3_in1k'")],
)
def test_an_unknown_name_is_answered_with_the_nearest(spec: str, offered: str) -> None:
    with pytest.raises(UnknownName) as raised:
        opened(f"{spec}@random", 32)
    assert offered in raised.value.fix


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provider, "version", absent)
    with pytest.raises(MissingExtra) as raised:
        family_of("timm", "test_resnet")
    assert raised.value.fix == "pip install 'regraft[timm]'"


def test_a_copy_is_built_without_drawing() -> None:
    backbone = opened("timm:test_vit@random", 32)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    backbone.fresh_network()
    assert torch.equal(torch.random.get_rng_state(), before)


SECOND_TIME = """
import sys
from regraft.backbones.opening import open_backbone
from regraft.workbench.backbones import backbones
opening = open_backbone("timm:test_vit@random", input_px=32)
try:
    while True: next(opening)
except StopIteration as stop:
    print(stop.value.digest())
assert "timm" in {one.name for one in backbones()}
assert not {"torch", "timm", "torchvision"} & set(sys.modules)
"""


def test_opening_a_second_time_and_listing_load_neither_torch_nor_timm(child_env: dict[str, str]) -> None:
    first = opened("timm:test_vit@random", 32)
    done = subprocess.run(
        [sys.executable, "-c", SECOND_TIME], env=child_env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [first.digest()]
