"""Every backbone on the shelf is run by ONNX Runtime below the cut, and gives torch's numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from networks import FAMILIES, large_ones_are_slow
from problems import opened
from regraft.activations.disk import Memo
from regraft.activations.runner import Prefixes
from regraft.backbones.backbone import Backbone


@pytest.fixture(scope="module", params=large_ones_are_slow())
def backbone(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """The default variant with random weights, for the smallest input it takes."""
    found = opened(f"{request.param}@random", FAMILIES[request.param].smallest_px)
    yield found
    found.tensors_path.unlink()


def check(backbone: Backbone, cuts: tuple[str, ...], folder: Path) -> None:
    """ONNX Runtime is used, without a word, and its numbers are torch's to 1e-5 of the largest."""
    px = backbone.card.preparation.input_px[0]
    shapes = {"pixels": ((px, px, 3), "uint8")}
    pixels = np.random.default_rng(0).integers(0, 256, (3, px, px, 3), dtype=np.uint8)

    prefixes = Prefixes(backbone, shapes, view="pooled", memo=Memo(folder), threads=1)
    runner = prefixes.runner(cuts)
    assert runner.name.startswith("onnxruntime-"), prefixes.notices
    found, network = runner({"pixels": pixels}), backbone.network
    assert tuple(found) == cuts
    with torch.no_grad():
        state, at = {"pixels": torch.from_numpy(pixels)}, "input"
        for cut in cuts:
            state, at = network.run(state, after=at, upto=cut), cut
            expected = {"pooled": network.readouts(state)["pooled"]} if cut == "output" else state
            for name, tensor in expected.items():
                scale = float(tensor.abs().max())
                np.testing.assert_allclose(found[cut][name], tensor.numpy(), rtol=0, atol=1e-5 * scale)
    assert not prefixes.notices


def test_several_cuts_are_exported_in_one_pass(backbone: Backbone, tmp_path: Path) -> None:
    check(backbone, (backbone.cuts[1], backbone.card.partial_cut, "output"), tmp_path)


@pytest.mark.slow
def test_every_cut_is_exported_alone(backbone: Backbone, tmp_path: Path) -> None:
    for cut in backbone.cuts[1:]:
        check(backbone, (cut,), tmp_path / cut)
        for path in (tmp_path / cut).rglob("*.onnx"):
            path.unlink()
