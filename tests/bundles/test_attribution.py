"""What a prediction rests on: maps that follow the weights, and the nearest training examples."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bundles.conftest import Small, stripes
from bundles.delivery import bundle_of, of_shelf
from problems import opened
from regraft.bundles.bundle import Bundle
from regraft.errors import BadRequest
from regraft.modalities.image.heat import heat_map
from regraft.workbench.explain import Explained, explain

captum = pytest.importorskip("captum", reason="captum is not installed")


def maps_of(bundle: Bundle, output: int = 0) -> dict[str, np.ndarray]:
    from regraft.bundles.attribution import attributions

    return attributions(bundle, bundle.prepare(stripes(0, 0, size=70)), output)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two maps, of their sizes."""
    ranks = [np.abs(values).ravel().argsort().argsort().astype(float) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_maps_change_when_the_weights_are_randomised(tmp_path: Path) -> None:
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292."""
    one = maps_of(of_shelf("googlenet:tiny", 64, "classification", tmp_path / "one"))
    again = maps_of(of_shelf("googlenet:tiny", 64, "classification", tmp_path / "again"))
    other = maps_of(bundle_of(opened("googlenet:tiny@random", 64, seed=7), "classification", tmp_path / "other"))
    assert set(one) == {"Grad-CAM", "integrated gradients"}
    for method, found in one.items():
        assert likeness(found, again[method]) > 0.999
        assert likeness(found, other[method]) < 0.7, method


def test_integrated_gradients_sum_to_what_the_logit_gains(tmp_path: Path) -> None:
    """Completeness, the axiom by which the method is defined: over the mean input."""
    import torch

    bundle = of_shelf("googlenet:tiny", 32, "multilabel", tmp_path / "model")
    record = bundle.prepare(stripes(1, 1))
    network, found = bundle.model.backbone.network, maps_of(bundle)
    with torch.no_grad():
        hidden = torch.zeros_like(network.start({"pixels": torch.tensor(record["pixels"])[None]})["hidden"])
        state = {"hidden": hidden}
        for stage in network.stages.values():
            state = stage(state)
        grey = bundle.model.module(network.readouts(state)["pooled"])[0, 0]
    gained = float(bundle.logits([bundle.prepare(stripes(0, 0, size=70))])[0, 0] - grey)
    assert found["integrated gradients"].sum() == pytest.approx(gained, rel=0.05, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "px"), [("vit_b_16", 32), ("mobilenet_v3_small", 64), ("alexnet", 64), ("resnet18", 64)]
)
@pytest.mark.parametrize("kind", ["ordinal", "regression"])
def test_networks_of_other_shapes_are_explained(name: str, px: int, kind: str, tmp_path: Path) -> None:
    for weights in maps_of(of_shelf(name, px, kind, tmp_path / "model")).values():
        assert np.isfinite(weights).all()
        assert weights.any()
        assert heat_map(np.zeros((px, px, 3), dtype=np.uint8), weights).startswith(b"\x89PNG")


def test_a_heat_map_is_red_where_a_place_speaks_for_it_and_blue_where_against() -> None:
    import io

    from PIL import Image

    weights = np.array([[1.0, 0.0], [0.0, -1.0]], dtype=np.float32)
    drawn = np.asarray(Image.open(io.BytesIO(heat_map(np.full((10, 10, 3), 90, dtype=np.uint8), weights))), dtype=int)
    assert drawn.shape[:2] == (240, 240)
    assert drawn[5, 5, 0] > drawn[5, 5, 2] + 50
    assert drawn[-5, -5, 2] > drawn[-5, -5, 0] + 50


def test_a_page_shows_maps_and_the_nearest_training_examples(runs: Mapping[str, Small], tmp_path: Path) -> None:
    small = runs["probe"]
    asked = small.photos / "train" / "rows" / "1.png"
    *_, done = explain(small.path, [asked], out=tmp_path / "page", neighbours=3, threads=1)
    assert isinstance(done, Explained)
    (one,) = done.explanations
    assert one.explained == one.prediction.label
    assert one.nearest[0].id == "train/rows/1.png", "the nearest to a training example is itself"
    assert one.nearest[0].similarity == pytest.approx(1.0, abs=1e-5)
    page = (tmp_path / "page" / "explained.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 6
    assert (
        json.loads((tmp_path / "page" / "explained.json").read_text(encoding="utf-8"))[0]["explained"] == one.explained
    )


def test_a_label_that_the_model_does_not_know_and_data_out_of_reach_are_named(
    runs: Mapping[str, Small], copy: Path, tmp_path: Path
) -> None:
    asked = next((runs["probe"].photos / "test" / "rows").iterdir())
    with pytest.raises(BadRequest, match="no class or target 'rovs'"):
        list(explain(copy, [asked], out=tmp_path / "page", label="rovs", threads=1))
    events = list(explain(copy, [asked], out=tmp_path / "page", label="rows", threads=1))
    assert any("nearest training examples cannot be shown" in getattr(event, "text", "") for event in events)
    assert events[-1].explanations[0].nearest == ()
