"""`Features`: a backbone's features as a transformer of scikit-learn."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import regraft
from regraft.activations.runner import BATCH, OnnxRunner
from regraft.backbones.opening import open_backbone
from regraft.errors import Undecodable, UnknownCut
from regraft.modalities.image.decode import contents_of, image_of

TINY = "googlenet:tiny@random"


def features(**settings: object) -> "regraft.Features":
    return regraft.Features(TINY, input_px=32, threads=1, **settings)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x[:90], y[:90]


def network_on(images: list[np.ndarray], cut: str) -> dict[str, np.ndarray]:
    """The state of the network itself, by torch, without the store."""
    import torch

    opening = open_backbone(TINY, input_px=32)
    try:
        while True:
            next(opening)
    except StopIteration as stop:
        backbone = stop.value
    pixels = np.stack([backbone.card.preparation.plain(image_of(contents_of(one)["file"])) for one in images])
    with torch.no_grad():
        network = backbone.network
        state = network.run({"pixels": torch.from_numpy(pixels)}, upto=cut)
        found = network.readouts(state) if cut == "output" else state
    return {name: tensor.numpy() for name, tensor in found.items()}


@pytest.mark.slow
@parametrize_with_checks([regraft.Features(TINY, input_px=32)])
def test_every_check_of_scikit_learn_is_passed_without_exception(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def test_the_features_are_those_of_the_network(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = [np.rint(row.reshape(8, 8) / 16 * 255).astype(np.uint8) for row in digits[0][:5]]
    top = features().fit(digits[0]).transform(digits[0][:5])
    np.testing.assert_allclose(top, network_on(images, "output")["pooled"], rtol=0, atol=1e-5)
    inner = network_on(images, "4a")["hidden"]
    np.testing.assert_allclose(
        features(cut="4a").fit(digits[0]).transform(digits[0][:5]), inner.mean((2, 3)), atol=1e-5
    )
    whole = features(cut="4a", pooled=False).fit(digits[0]).transform(digits[0][:5])
    np.testing.assert_allclose(whole, inner.reshape(5, -1), rtol=0, atol=1e-5)


def test_paths_and_arrays_of_the_same_images_give_the_same_features(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    paths = []
    for number, pixels in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    from_paths = features().fit_transform([str(path) for path in paths])
    assert np.array_equal(from_paths, features().fit_transform(images))
    assert np.array_equal(from_paths, features().fit_transform(list(map(Image.fromarray, images))))


def test_the_network_runs_once_per_image_however_many_folds_there_are(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    rows, run = [0], OnnxRunner.__call__

    def counting(self: OnnxRunner, inputs: dict[str, np.ndarray]) -> object:
        rows[0] += len(inputs["pixels"])
        return run(self, inputs)

    monkeypatch.setattr(OnnxRunner, "__call__", counting)
    pipe = make_pipeline(features(), StandardScaler(), LogisticRegression(max_iter=200))
    scores = cross_val_score(pipe, *digits, cv=3)
    GridSearchCV(pipe, {"logisticregression__C": [0.01, 0.1, 1.0]}, cv=3).fit(*digits)
    timed = 2 * BATCH  # each of the two fillings runs its first batch twice, to foretell its time
    assert rows[0] <= len(digits[0]) + timed
    assert scores.mean() > 0.3  # ten classes: chance is a tenth


def test_it_survives_cloning_and_pickling(digits: tuple[np.ndarray, np.ndarray]) -> None:
    fitted = features(cut="4e").fit(digits[0])
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - our own
    assert np.array_equal(again.transform(digits[0][:2]), fitted.transform(digits[0][:2]))
    assert clone(fitted).get_params() == fitted.get_params()
    assert fitted.get_feature_names_out()[-1] == f"googlenet_4e_{fitted.transform(digits[0][:1]).shape[1] - 1}"


def test_a_stage_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownCut, match="4z"):
        features(cut="4z").fit(np.zeros((2, 8, 8), np.uint8))


def test_a_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(Undecodable, match=r"broken\.png"):
        features().fit([tmp_path / "broken.png"])
