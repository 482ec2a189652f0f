"""What is said of a network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from networks import FAMILIES
from problems import painted
from regraft.bundle_format import read_tensors
from regraft.errors import BadRequest, BundleError, UnknownName, WeightsMissing
from regraft.recipe import Recipe
from regraft.workbench.describe import describe
from regraft.workbench.fit import fit


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_described_without_weights_as_json(name: str) -> None:
    family = FAMILIES[name]
    spec = f"{name}:{family.variants[0]}" if family.narrowed else name
    said = json.loads(json.dumps(describe(spec, input_px=family.smallest_px).to_json(), allow_nan=False))
    assert said["name"].startswith(name)
    assert said["input_px"] == [family.smallest_px] * 2
    assert ["input", *(stage["name"] for stage in said["stages"][:-1]), "output"] == said["cuts"]
    assert said["head"]["output"] == [1000]
    assert said["parameters"] == sum(part["parameters"] for part in (*said["stages"], said["head"]))


def test_the_papers_own_table_stands_beside_what_was_counted() -> None:
    said = describe("googlenet:paper").to_json()
    rows = {row["name"]: row for row in said["paper"]}
    assert [name for name, row in rows.items() if not row["agrees"]] == ["conv1", "4c", "5a"]
    assert rows["conv1"]["parameters_here"] == 7 * 7 * 3 * 64 + 64
    assert rows["conv2"]["parameters_here"] == 64 * 64 + 64 + 9 * 64 * 192 + 192
    assert rows["linear"]["parameters_here"] == 1024 * 1000 + 1000
    assert sum(row["parameters_here"] for row in rows.values()) == said["parameters"]
    assert all(row["multiply_adds_here"] == row["multiply_adds_by_filters"] for row in rows.values())


@pytest.mark.parametrize("spec", ["googlenet:naive", "googlenet:half", "resnet18"])
def test_the_papers_table_is_left_out_where_it_is_of_another_network(spec: str) -> None:
    assert describe(spec, input_px=64).paper == ()


def test_the_papers_table_is_left_out_at_another_input_size() -> None:
    assert describe("googlenet:paper", input_px=192).paper == ()


def test_published_weights_name_their_variant_and_accuracy() -> None:
    found = describe("googlenet@imagenet", input_px=64)
    assert found.name == "googlenet:torchvision"
    (accuracy,) = found.accuracies
    assert (accuracy.spec, accuracy.top1_percent) == ("googlenet:torchvision@imagenet", 69.778)
    assert accuracy.same
    assert accuracy.source.startswith("torchvision, https://download.pytorch.org/models/googlenet")
    (other,) = describe("googlenet:bn", input_px=64).accuracies
    assert (other.spec, other.same) == ("googlenet:torchvision@imagenet", False)


def test_a_file_of_weights_says_which_variant_it_is_of(tmp_path: Path) -> None:
    family = FAMILIES["googlenet"]
    path = tmp_path / "net.pth"
    torch.save(family.build(family.card("tiny")).original.state_dict(), path)
    assert describe(f"googlenet@file:{path}", input_px=32).name == "googlenet:tiny"
    with pytest.raises(WeightsMissing, match=r"other\.pth does not exist"):
        describe(f"googlenet@file:{tmp_path / 'other.pth'}")


def test_a_model_of_ours_is_described_with_its_own_head(tmp_path: Path) -> None:
    targets = np.arange(12) % 3
    for number, picture in enumerate(painted(targets, 40, 0)):
        path = tmp_path / "data" / f"class{targets[number]}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    recipe = Recipe(data=str(tmp_path / "data"), backbone="googlenet:tiny@random", input_px=32, threads=1)
    list(fit(recipe, tmp_path / "run"))
    found = describe(str(tmp_path / "run"))
    tensors = read_tensors(tmp_path / "run" / "model" / "model.safetensors")
    held = [a.size for name, a in tensors.items() if not name.startswith("ood/") and "running_" not in name]
    assert (found.name, found.num_classes, found.input_px) == ("googlenet:tiny", 3, (32, 32))
    assert found.costs.parameters == sum(held)


@pytest.mark.parametrize(
    ("spec", "input_px", "error"),
    [
        ("googlenett", None, UnknownName),
        ("googlenet:papers", None, UnknownName),
        ("googlenet@imagnet", None, UnknownName),
        ("googlenet", 16, BadRequest),
        ("vit_b_16", 100, BadRequest),
        ("", None, BadRequest),
        ("bundle:nowhere", None, BundleError),
    ],
)
def test_what_cannot_be_described_is_refused(spec: str, input_px: int | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        describe(spec, input_px=input_px)
