"""What is said of backbones."""

from pathlib import Path

import pytest

from regraft.backbones._backbone import BACKBONES
from regraft.errors import UnknownName
from regraft.workbench.backbones import backbones


def test_every_backbone_on_the_shelf_is_told_of_with_its_weights() -> None:
    found = {one.name: one for one in backbones()}
    assert sorted(found) == BACKBONES.names()
    for facts in found.values():
        assert facts.partial_cut in facts.cuts
        assert facts.prefer
        assert facts.prefer[-1] != "."
        assert {"random", "file:PATH"} <= {one.spec.partition("@")[2] for one in facts.weights}
        for one in facts.weights:
            assert one.prefer
            if one.size_mb is not None:
                assert one.where.startswith("https://")
                assert one.licence
                assert one.trained_on


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
