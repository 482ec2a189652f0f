"""What is said of backbones."""

from pathlib import Path

import pytest

from regraft.backbones.backbone import BACKBONES
from regraft.errors import UnknownName
from regraft.workbench.backbones import backbones


def test_every_backbone_on_the_shelf_is_told_of_with_its_weights() -> None:
    found = {one.name: one for one in backbones()}
    assert sorted(found) == BACKBONES.names()
    for facts in found.values():
        one = facts.architecture or backbones(f"{facts.name}:{facts.variants[0]}")[0].architecture
        assert one is not None
        assert one.partial_cut in one.cuts or (not one.partial_cut and one.cuts == ("input", "output"))
        assert facts.prefer
        assert facts.prefer[-1] != "."
        assert {"random", "file:PATH"} <= {one.spec.partition("@")[2] for one in facts.weights}
        for weights in facts.weights:
            assert weights.prefer
            if weights.size_mb is not None:
                assert weights.where.startswith(("https://", "the package "))
                assert weights.licence
                assert weights.trained_on


def test_a_variant_is_told_of_with_the_weights_that_are_its_own() -> None:
    (facts,) = backbones("timm:test_resnet")
    assert facts.variants == ("test_resnet.r160_in1k",)
    assert facts.architecture is not None
    assert facts.architecture.cuts == ("input", "stem", "layer1", "layer2", "layer3", "output")
    pretrained = next(one for one in facts.weights if one.spec.endswith("@pretrained"))
    assert pretrained.spec == "timm:test_resnet.r160_in1k@pretrained"
    assert pretrained.where == "https://huggingface.co/timm/test_resnet.r160_in1k/tree/main"
    assert (pretrained.licence, pretrained.here) == ("apache-2.0", False)
    (paper,) = backbones("googlenet:paper")
    assert paper.name == "googlenet:paper"
    assert not any(one.spec.endswith("@imagenet") for one in paper.weights)


def test_weights_are_here_once_their_file_lies_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))

    def here() -> bool:
        (facts,) = backbones("googlenet")
        return next(one.here for one in facts.weights if one.spec == "googlenet@imagenet")

    assert not here()
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "googlenet-1378be20.pth").write_bytes(b"")
    assert here()


def test_an_unknown_backbone_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet18'"):
        backbones("resnet8")
