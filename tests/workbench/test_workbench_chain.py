"""A model made here is the next backbone: three transfers, each from the one before."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from problems import opened, painted
from regraft.backbones import timm as provider
from regraft.bundle_format import read_facts, read_tensors
from regraft.bundles.bundle import load
from regraft.errors import MissingExtra
from regraft.recipe import Recipe
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone

PX = 32
CLASSES = {"a": ("even", "ruled"), "b": ("dull", "striped", "warm"), "c": ("plain", "lined")}
"""What the data of each transfer call noise, stripes and a warm tint."""
CUTS = {"googlenet:tiny@random": "4e", "timm:test_resnet@random": "layer3"}
"""Where partial fine-tuning cuts."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of pictures for each transfer, by the transfer's name."""
    root = tmp_path_factory.mktemp("chain")
    for seed, (name, classes) in enumerate(CLASSES.items()):
        targets = np.arange(24) % len(classes)
        for number, picture in enumerate(painted(targets, 40, seed)):
            path = root / name / ("train" if number < 16 else "test") / classes[targets[number]] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return {name: root / name for name in CLASSES}


def transfer(data: Path, backbone: str, strategy: str, out: Path) -> RunDone:
    options = {} if strategy == "probe" else {"epochs": 1, "min_steps": 2, "batch": 8}
    recipe = Recipe(
        data=str(data), backbone=backbone, strategy=strategy, input_px=PX, threads=1, options=options
    )  # fmt: skip
    *_, done = fit(recipe, out)
    assert isinstance(done, RunDone)
    return done


def stages_of(run: Path) -> dict[str, np.ndarray]:
    """The backbone's tensors in a run's model, without the head and what belongs to it."""
    stages = read_facts(run / "model")["backbone"]["card"]["stages"]
    tensors = read_tensors(run / "model" / "model.safetensors")
    return {name: array for name, array in tensors.items() if name.partition("/")[0] in stages}


def changed_stages(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    assert before.keys() == after.keys()
    return {name.partition("/")[0] for name, array in after.items() if not np.array_equal(array, before[name])}


@pytest.mark.parametrize(
    ("backbone", "strategy"),
    [
        ("googlenet:tiny@random", "probe"),
        pytest.param("googlenet:tiny@random", "partial", marks=pytest.mark.slow),
        ("timm:test_resnet@random", "partial"),
    ],
)
def test_each_of_three_transfers_stands_on_the_one_before(
    backbone: str, strategy: str, data: dict[str, Path], tmp_path: Path
) -> None:
    runs = {name: tmp_path / name for name in CLASSES}
    first = transfer(data["a"], backbone, strategy, runs["a"])
    asked = sorted((data["a"] / "test").rglob("*.png"))
    before = [prediction.probabilities for prediction in load(runs["a"]).predict(asked)]
    written = {path: path.read_bytes() for path in (runs["a"] / "model").iterdir() if path.is_file()}
    second = transfer(data["b"], f"bundle:{runs['a']}", strategy, runs["b"])
    third = transfer(data["c"], str(runs["b"]), strategy, runs["c"])

    found = {name: stages_of(run) for name, run in runs.items()}
    stages = read_facts(runs["a"] / "model")["backbone"]["card"]["stages"]
    trained = set() if strategy == "probe" else set(stages[stages.index(CUTS[backbone]) + 1 :])
    assert changed_stages(found["a"], found["b"]) == trained
    assert changed_stages(found["b"], found["c"]) == trained

    digests = [done.report.backbone.digest for done in (first, second, third)]
    assert len(set(digests)) == (1 if strategy == "probe" else 3)
    cut = stages[-1] if strategy == "probe" else CUTS[backbone]
    below = {opened(f"bundle:{run}", PX).digest(cut) for run in runs.values()}
    assert len(below) == 1
    told = "random; then 2 classes of the user's (a); then 3 classes of the user's (b)"
    assert third.report.backbone.trained_on == told
    assert third.report.backbone.weights == "bundle:b"
    assert told in (runs["c"] / "model" / "README.md").read_text()

    assert {path: path.read_bytes() for path in written} == written
    assert [prediction.probabilities for prediction in load(runs["a"]).predict(asked)] == before
    assert load(runs["c"]).classes == tuple(sorted(CLASSES["c"]))
    assert list(predict(runs["c"], [data["c"] / "test"]))


def test_a_model_of_timms_network_says_what_to_install_where_timm_is_not(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer(data["a"], "timm:test_resnet@random", "probe", tmp_path / "run")

    def absent(name: str) -> str:
        raise provider.PackageNotFoundError(name)

    monkeypatch.setattr(provider, "version", absent)
    with pytest.raises(MissingExtra) as raised:
        load(tmp_path / "run")
    assert raised.value.fix == "pip install 'regraft[timm]'"
    with pytest.raises(MissingExtra):
        opened(f"bundle:{tmp_path / 'run'}", PX)
