"""The weights inside the package, and what their cards say of them."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from problems import opened
from regraft.backbones import shipped
from regraft.backbones.backbone import family_of
from regraft.backbones.shipped import shipped_weights, weights_folder
from regraft.bundle_format import read_tensors
from regraft.errors import WeightsError, WeightsMissing

MOST_BYTES = {"googlenet": 14e6, "mobilenet_v3_small": 6e6}
SHIPPED = sorted(path.stem for path in weights_folder().glob("*.safetensors"))


def test_googlenet_is_shipped() -> None:
    assert "googlenet" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_the_file_is_the_one_that_its_card_describes_and_small_enough(name: str) -> None:
    found = shipped_weights(name)
    assert found is not None
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == found.sha256
    assert found.path.stat().st_size <= MOST_BYTES[name]
    assert found.card.family == name
    assert "research use only" in found.card.licence


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_float16_and_statistics_float32(name: str) -> None:
    for tensor, array in read_tensors(weights_folder() / f"{name}.safetensors").items():
        assert array.dtype == (np.float32 if tensor.endswith(("running_mean", "running_var")) else np.float16), tensor


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_names_its_classes_its_recipe_and_figures_with_intervals(name: str) -> None:
    found = shipped_weights(name)
    assert found is not None
    assert len(found.card.source_classes) == found.card.num_source_classes == 393
    assert found.recipe["epochs"] > 0
    assert found.recipe["settings"]["options.smoothing"] == 0.0
    assert 2 <= len(found.recipe["curve"]) <= 40
    assert found.recipe["curve"][-1]["epoch"] == found.recipe["epochs"]
    assert len(found.limits) >= 3
    told = [figure.what for figure in found.figures]
    assert any(what.startswith("top-1") for what in told)
    assert any(what.startswith("top-5") for what in told)
    for figure in found.figures:
        assert (-1 if figure.signed else 0) < figure.low < figure.value < figure.high < 1
        assert figure.source


@pytest.mark.parametrize("name", SHIPPED)
def test_the_plain_name_means_the_shipped_weights_at_the_cards_size(name: str) -> None:
    found = shipped_weights(name)
    assert found is not None
    backbone = opened(name)
    assert backbone.card.weights == "shipped"
    assert backbone.card.preparation == found.card.preparation
    again = opened(f"{name}:{found.card.variant}")
    assert again.digest() == backbone.digest()
    stored, original = backbone.tensors(), read_tensors(found.path)
    assert stored["source/weight"].shape == (393, backbone.card.width)
    family, _ = family_of(name)
    assert np.array_equal(stored["source/weight"], original[family.classifier].astype(np.float32))


@pytest.mark.parametrize("name", SHIPPED)
def test_features_of_the_pretraining_data_are_kept_in_units_of_their_variance(name: str) -> None:
    found = shipped_weights(name)
    assert found is not None
    kept = found.source_features()
    assert kept is not None, f"python pretraining/ship.py --features {name}"
    assert kept["axes"].shape == (64, found.card.width) == (64, len(kept["mean"]))
    assert kept["rows"].shape == (1024, 64)
    assert 0.5 < kept["rows"].astype(np.float64).var(axis=0).sum() < 1


def test_a_variant_that_is_not_shipped_is_missing() -> None:
    with pytest.raises(WeightsMissing, match="No weights for googlenet:naive are shipped"):
        opened("googlenet:naive", 64)


def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's weights that may be damaged."""
    for path in weights_folder().glob("googlenet.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(shipped, "weights_folder", lambda: tmp_path)
    return tmp_path


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copied(tmp_path, monkeypatch) / "googlenet.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="its card records") as raised:
        opened("googlenet", 64)
    assert "reinstall regraft" in raised.value.fix


def test_features_that_are_not_those_of_the_card_are_refused_and_a_card_may_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = copied(tmp_path, monkeypatch) / "googlenet.json"
    found = shipped_weights("googlenet")
    assert found is not None
    with pytest.raises(WeightsError, match="is missing"):
        found.source_features()
    card.write_text(json.dumps({key: one for key, one in json.loads(card.read_text()).items() if "corpus" not in key}))
    found = shipped_weights("googlenet")
    assert found is not None
    assert found.source_features() is None


@pytest.mark.parametrize("damage", ["{", "{}", '{"sha256": "", "card": {}, "recipe": {}}', '{"other": 1}'])
def test_a_damaged_card_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied(tmp_path, monkeypatch) / "googlenet.json").write_text(damage)
    with pytest.raises(WeightsError, match="does not describe the weights beside it"):
        opened("googlenet", 64)


def test_a_missing_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied(tmp_path, monkeypatch) / "googlenet.json").unlink()
    with pytest.raises(WeightsError, match="does not describe the weights beside it"):
        opened("googlenet", 64)


def test_cards_are_json_that_people_can_read() -> None:
    for name in SHIPPED:
        assert json.loads((weights_folder() / f"{name}.json").read_text(encoding="utf-8"))["card"]["family"] == name
