"""Models of one channel and of many: fitted, written, loaded, and taken for the next backbone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundles.bundle import Bundle, load
from regraft.errors import BadData, Undecodable
from regraft.modalities.image.decode import decode, golden_digests, golden_files
from regraft.modalities.image.planes import as_array
from regraft.recipe import Recipe, read_recipe
from regraft.values import Notice
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

QUICK = {"epochs": 1, "min_steps": 2, "batch": 8}


def run(data: Path, out: Path, **fields: object) -> tuple[Bundle, list[str]]:
    """The model of a run, and the notices on the way."""
    given = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1, **fields}
    events = list(fit(Recipe(data=str(data), **given), out))  # type: ignore[arg-type]
    assert isinstance(events[-1], RunDone)
    return load(out, threads=1), [event.text for event in events if isinstance(event, Notice)]


@pytest.fixture(scope="module")
def many(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures as arrays of five channels: theirs, and two of their differences."""
    root = tmp_path_factory.mktemp("many") / "arrays"
    for path in photos.rglob("*.png"):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        goal = (root / path.relative_to(photos)).with_suffix(".npy")
        goal.parent.mkdir(parents=True, exist_ok=True)
        np.save(goal, np.concatenate([pixels, pixels[..., :2] - pixels[..., 1:]], axis=2))
    return root


def test_a_grey_model_takes_whatever_shows_a_picture(photos: Path, tmp_path: Path) -> None:
    model, told = run(photos, tmp_path / "grey", channels=1)
    assert model.card.channels == 1
    assert any("adapted from 3 channels to 1" in text for text in told)
    assert read_recipe(tmp_path / "grey" / "recipe.toml").channels == 1
    path = next(photos.rglob("*.png"))
    colour = np.asarray(Image.open(path).convert("RGB"))
    grey = np.asarray(Image.open(path).convert("L"))
    forms = [path, path.read_bytes(), colour, grey, grey[..., None], Image.fromarray(grey), Image.fromarray(colour)]
    prepared = [model.prepare(form)["pixels"] for form in forms]
    assert prepared[0].shape == (32, 32, 1)
    for other in prepared[1:]:
        np.testing.assert_array_equal(other, prepared[0])


@pytest.mark.parametrize("strategy", ["probe", pytest.param("partial", marks=pytest.mark.slow), "full"])
def test_a_model_of_five_channels_trains_loads_and_predicts(strategy: str, many: Path, tmp_path: Path) -> None:
    options = {} if strategy == "probe" else QUICK
    model, _ = run(many, tmp_path / "five", channels=5, strategy=strategy, options=options)
    assert model.card.channels == 5
    files = sorted((many / "test").rglob("*.npy"))
    by_path = model.predict(files)
    by_array = model.predict([np.load(path) for path in files])
    assert [one.probabilities for one in by_path] == [one.probabilities for one in by_array]
    wide = model.prepare(np.load(files[0]).astype(np.uint16) * 257)["pixels"]  # 257 is 65535 / 255
    np.testing.assert_array_equal(wide, model.prepare(files[0])["pixels"])
    with pytest.raises(Undecodable, match="3 channels; expected 5"):
        model.prepare(np.zeros((40, 40, 3), np.uint8))


def test_a_model_of_other_channels_is_the_next_backbone(photos: Path, many: Path, tmp_path: Path) -> None:
    first, _ = run(photos, tmp_path / "first", channels=1)
    second, told = run(photos, tmp_path / "second", backbone=str(tmp_path / "first"), input_px=48)
    assert second.card.channels == 1
    assert second.card.preparation.input_px == (48, 48)
    assert not any("adapted" in text for text in told)
    assert second.model.backbone.stage_digests == first.model.backbone.stage_digests
    with pytest.raises(BadData, match=r"has 5 channels; .* takes 1") as caught:
        run(many, tmp_path / "third", backbone=str(tmp_path / "first"))
    assert "data with 1 channel only" in caught.value.fix


def test_arrays_of_five_channels_need_a_network_for_them_and_the_error_says_how(many: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"5 channels; googlenet:tiny@random takes 3 \(34 of 34") as caught:
        run(many, tmp_path / "run")
    assert "--set channels=5" in caught.value.fix


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_golden_inputs_have_the_networks_channels(channels: int) -> None:
    shapes = [as_array(decode(file, channels=channels)).shape for file in golden_files(3, channels)]
    assert [shape[2] for shape in shapes] == [channels] * 4
    assert len(set(golden_digests(3, channels))) == 4
    assert (golden_digests(3, channels) == golden_digests(3)) == (channels in (1, 3))
