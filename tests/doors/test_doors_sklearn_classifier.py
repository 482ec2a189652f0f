"""`RegraftClassifier`: transfer learning as a classifier of scikit-learn."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import regraft
from regraft.activations.runner import BATCH, OnnxRunner
from regraft.errors import BadRecipe, BadRequest, DamagedData
from regraft.tasks.classification import Classification

TINY = "googlenet:tiny@random"
BRIEF = {"epochs": 1, "min_steps": 2}


def classifier(**settings: object) -> "regraft.RegraftClassifier":
    return regraft.RegraftClassifier(TINY, input_px=32, threads=1, **settings)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(n_class=3, return_X_y=True)
    return x[:90], y[:90]


@parametrize_with_checks([regraft.RegraftClassifier(TINY, input_px=32, threads=1)])
def test_every_check_of_scikit_learn_is_passed_without_exception(estimator: object, check: Callable[..., None]) -> None:
    check(estimator)


def test_its_probabilities_are_those_of_the_model_that_fit_would_save(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    x, y = digits
    model = classifier().fit(x[:60], y[:60])
    model.save(tmp_path / "model")
    images = [np.rint(row.reshape(8, 8) / 16 * 255).astype(np.uint8) for row in x[60:]]
    saved = regraft.load(tmp_path / "model")
    said = [list(one.probabilities.values()) for one in saved.predict(images)]
    assert saved.facts["facts"]["calibration"]["temperature"] == saved.model.temperature
    np.testing.assert_allclose(model.predict_proba(x[60:]), said, rtol=0, atol=1e-6)
    assert model.score(x[60:], y[60:]) > 0.5


def test_labels_come_back_as_they_were_given(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    words = np.array(["zero", "one", "two"], dtype=object)[y]
    model = classifier().fit(x, words)
    assert list(model.classes_) == ["one", "two", "zero"]
    assert set(model.predict(x)) <= set(words)
    assert np.array_equal(model.decision_function(x).argmax(axis=1), model.predict_proba(x).argmax(axis=1))


def test_folds_of_an_untouched_network_run_it_once_per_image(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    rows, run = [0], OnnxRunner.__call__

    def counting(self: OnnxRunner, inputs: dict[str, np.ndarray]) -> object:
        rows[0] += len(inputs["pixels"])
        return run(self, inputs)

    monkeypatch.setattr(OnnxRunner, "__call__", counting)
    assert cross_val_score(classifier(), *digits, cv=3).mean() > 0.5
    golden = 4
    timed = 2 * BATCH  # each of the two fillings runs its first batch twice, to foretell its time
    assert rows[0] <= len(digits[0]) + golden + timed


def test_groups_reach_the_folds_that_choose_the_penalty(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = digits
    seen: list[np.ndarray] = []
    deal = Classification.deal
    monkeypatch.setattr(Classification, "deal", lambda task, t, g, *rest: (seen.append(g), deal(task, t, g, *rest))[1])
    patients = np.arange(len(x)) // 6
    with sklearn.config_context(enable_metadata_routing=True):
        routed = classifier().set_fit_request(groups=True)
        scores = cross_val_score(routed, x, y, cv=GroupKFold(3), params={"groups": patients})
    assert scores.shape == (3,)
    assert {len(np.unique(groups)) for groups in seen} == {10}


@pytest.mark.slow
def test_a_grid_over_strategies_inside_a_pipeline(digits: tuple[np.ndarray, np.ndarray]) -> None:
    pipe = Pipeline([("model", classifier(options=BRIEF))])
    grid = GridSearchCV(pipe, {"model__strategy": ["partial", "full"]}, cv=2).fit(*digits)
    assert grid.best_params_["model__strategy"] in ("partial", "full")
    assert grid.predict_proba(digits[0][:4]).shape == (4, 3)


@pytest.mark.parametrize(("strategy", "options"), [("probe", {}), ("partial", BRIEF)])
def test_a_pickled_or_copied_model_predicts_the_same(
    digits: tuple[np.ndarray, np.ndarray], strategy: str, options: dict[str, int]
) -> None:
    model = classifier(strategy=strategy, options=options).fit(*digits)
    said = model.predict_proba(digits[0])
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301 - our own
        assert np.array_equal(again.predict_proba(digits[0]), said)


def test_paths_are_trained_on_where_they_lie(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths, labels = [], []
    for number in range(12):
        shade = 40 if number % 2 else 200
        pixels = (shade + random.integers(-20, 20, (40, 40, 3))).astype(np.uint8)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
        labels.append("dark" if number % 2 else "light")
    assert classifier().fit(paths[:8], labels[:8]).score(paths[8:], labels[8:]) == 1.0


def test_a_damaged_image_stops_training_and_is_named(tmp_path: Path) -> None:
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(paths[-1])
    paths[3].write_bytes(b"no image")
    with pytest.raises(DamagedData, match=r"3\.png.*\n.*remove them from X"):
        classifier().fit(paths, list("ababab"))


def test_a_setting_out_of_range_is_refused_in_fit(digits: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(BadRecipe, match=r"RegraftClassifier: input_px is -1"):
        regraft.RegraftClassifier(TINY, input_px=-1).fit(*digits)
    with pytest.raises(BadRecipe, match="did you mean 'lr'"):
        classifier(strategy="partial", options={"lrr": 1.0}).fit(*digits)


def test_advice_names_parameters_and_not_flags_of_the_command_line(digits: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(BadRequest, match=r"leave out `cut`, or use `strategy` partial") as caught:
        classifier(cut="4e").fit(*digits)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels_than_three_are_learnt_from(channels: int) -> None:
    random = np.random.default_rng(0)
    y = np.arange(16) % 2
    x = (40 + 100 * y[:, None, None, None] + random.integers(0, 40, (16, 32, 32, channels))).astype(np.uint8)
    model = classifier(channels=channels).fit(x[:10], y[:10])
    assert model.score(x[10:], y[10:]) == 1.0
    features = regraft.Features(TINY, input_px=32, threads=1, channels=channels).fit_transform(x)
    assert features.shape == (16, 256)
