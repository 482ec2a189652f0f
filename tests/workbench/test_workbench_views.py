"""A recipe's augmentation reaches the views and their keys, stored or fresh, with states mixed or not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.errors import BadRecipe, UnknownName
from regraft.recipe import Recipe
from regraft.values import drained
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from regraft.workbench.session import open_session

TINY = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("views") / "photos"
    for part, count in (("train", 8), ("test", 4)):
        for label, brightness in (("dark", 60), ("light", 130)):
            (root / part / label).mkdir(parents=True)
            random = np.random.default_rng([count, brightness])
            for at in range(count):
                pixels = random.normal(brightness, 40, (40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{at}.png")
    return root


def test_every_setting_of_the_augmentation_has_views_and_keys_of_its_own(photos: Path) -> None:
    from problems import opened

    card = opened("googlenet:tiny@random", 32).card
    session = drained(open_session(Recipe(data=str(photos)), workers=1))
    seen, keys = set(), set()
    for augment in ({}, {"magnitude": 20}, {"operations": 4}, {"horizontal_flip": 0.0}):
        recipe = Recipe(data=str(photos), augmentation="strong", augment=augment)
        inputs = replace(session, recipe=recipe).inputs(card, workers=1)
        keys.add(inputs.view_name(2))
        assert inputs.view_name(0) == "plain"
        views = np.stack([inputs.load(example, 2, 0)[0]["pixels"] for example in range(8)])
        seen.add(views.tobytes())
        plain = np.stack([inputs.load(example, 0, 0)[0]["pixels"] for example in range(8)])
        assert not np.array_equal(views, plain)
    assert len(keys) == len(seen) == 4


@pytest.mark.parametrize(
    ("strategy", "views", "options"),
    [
        ("partial", 2, {"mixup": 0.2}),
        pytest.param("full", 0, {"cutmix": 1.0, "mixup": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_a_fit_with_strong_views_and_mixed_examples_ends_in_a_model(
    photos: Path, tmp_path: Path, strategy: str, views: int, options: dict[str, float]
) -> None:
    quick = {"epochs": 1, "min_steps": 2, "batch": 8, **options}
    recipe = Recipe(
        data=str(photos), strategy=strategy, augmentation="strong", augment={"magnitude": 12.0}, views=views,
        options=quick, **TINY,
    )  # fmt: skip
    done = list(fit(recipe, tmp_path / "run"))[-1]
    assert isinstance(done, RunDone)
    assert done.report.recipe["augment"] == {"magnitude": 12.0}
    assert done.report.strategy.options["mixup"] == 0.2
    assert np.isfinite(done.report.evaluation["test"].metrics["log_loss"].value)


def test_an_unknown_augmentation_or_field_of_one_ends_it_before_anything_is_scanned(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="did you mean 'strong'"):
        list(fit(Recipe(data=str(photos), augmentation="strng", **TINY), tmp_path / "a"))
    with pytest.raises(BadRecipe, match="did you mean 'magnitude'"):
        list(fit(Recipe(data="nowhere", augmentation="strong", augment={"magnitud": 3}, **TINY), tmp_path / "b"))


ON_DEVICE = {"on_device": True, "greyscale": 0.2, "brightness": 0.2}


def test_views_made_on_the_device_end_in_a_model_that_answers_on_plain_ones(photos: Path, tmp_path: Path) -> None:
    quick = {"epochs": 2, "min_steps": 4, "batch": 8}
    recipe = Recipe(data=str(photos), strategy="scratch", augment=ON_DEVICE, options=quick, **TINY)
    done = list(fit(recipe, tmp_path / "run"))[-1]
    assert isinstance(done, RunDone)
    assert np.isfinite(done.report.evaluation["test"].metrics["log_loss"].value)
    assert all(np.isfinite(epoch["loss"]) for epoch in done.report.strategy.curve)


@pytest.mark.parametrize(
    "other", [{"strategy": "partial"}, {"strategy": "full", "views": 2}, {"strategy": "probe"}], ids=str
)
def test_views_that_are_kept_are_not_made_on_the_device(photos: Path, tmp_path: Path, other: dict[str, object]) -> None:
    with pytest.raises(BadRecipe, match="only inputs that are redrawn every epoch"):
        list(fit(Recipe(data=str(photos), augment=ON_DEVICE, **TINY, **other), tmp_path / "run"))
