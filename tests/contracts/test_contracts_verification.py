"""Verification that is no part of the package goes the whole way: what is tested are identities never trained on."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import vision_toys as toys
from regraft.bundles.bundle import load
from regraft.data.dataset import Dataset
from regraft.errors import LeakedSplit
from regraft.recipe import Recipe, Source
from regraft.values import drained
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone
from regraft.workbench.session import Session, open_session

QUICK = {"epochs": 1, "min_steps": 20, "batch": 32, "lr": 3e-3, "head_lr_factor": 1.0}
IDENTITIES, SHOTS = 24, 4


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("site"), patch)
        patch.setattr("regraft.strategies.probe.HEAD_EPOCHS", 1)
        patch.setattr("regraft.strategies.probe.HEAD_STEPS", 40)
        yield


def paint(path: Path, identity: int, shot: int) -> None:
    """Noise around an identity's own two colours, on the left and on the right."""
    colours = np.random.default_rng(identity).integers(40, 215, (2, 3))
    random = np.random.default_rng([identity, shot])
    pixels = np.repeat(colours[None], 36, axis=0).repeat(18, axis=1) + random.integers(-40, 40, (36, 36, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of 24 identities, four images each; no splits."""
    root = tmp_path_factory.mktemp("faces") / "faces"
    for identity in range(IDENTITIES):
        for shot in range(SHOTS):
            paint(root / f"id{identity:02}" / f"{shot}.png", identity, shot)
    return root


def table(folder: Path, split_of: str) -> Path:
    """The images with splits: `identity` gives the last ten identities to test, `shot` the last image of each."""
    path = folder.parent / f"{split_of}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for at in range(IDENTITIES * SHOTS):
            identity, shot = divmod(at, SHOTS)
            tests = identity >= IDENTITIES - 10 if split_of == "identity" else shot == SHOTS - 1
            rows.writerow([f"faces/id{identity:02}/{shot}.png", f"id{identity:02}", "test" if tests else "train"])
    return path


def recipe(data: Path, strategy: str = "probe", **changes: object) -> Recipe:
    given = {"backbone": "toy_pyramid@random", "task": "toy_verification", "threads": 1, "folds": 3, "max_repeats": 1}
    return Recipe(data=str(data), strategy=strategy, **{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tuned(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    chosen = recipe(table(faces, "identity"), "finetune", cut="fine", views=2, options=QUICK)
    *_, done = fit(chosen, tmp_path_factory.mktemp("tuned") / "run")
    assert isinstance(done, RunDone)
    return done


def test_pairs_of_unseen_identities_are_told_apart_beside_the_probe(tuned: RunDone) -> None:
    report = tuned.report
    found = report.evaluation["test"].metrics["toy_pair_auroc"]
    assert found.value > 0.6
    assert found.low <= found.value <= found.high
    assert found.method == "bootstrap by group", "identities are drawn, not images"
    assert report.probe.evaluation.metrics["toy_pair_auroc"].value > 0.5
    assert report.paired.metric == "toy_pair_auroc"
    assert report.strategy.trained_stages == ("coarse", "top")


def test_a_loaded_model_gives_the_embedding_of_an_input(tuned: RunDone, faces: Path) -> None:
    paths = [faces / "id23" / f"{shot}.png" for shot in range(2)]
    found = load(tuned.path, verify=True).predict(paths)
    again = [one for one in predict(tuned.path, paths, threads=1) if isinstance(one, toys.Embedded)]
    assert np.allclose([one.embedding for one in found], [one.embedding for one in again], atol=1e-5)
    assert np.linalg.norm(found[0].embedding) == pytest.approx(1, abs=1e-5)


def test_a_small_set_is_cross_validated_by_identity(faces: Path, tmp_path: Path) -> None:
    *_, done = fit(recipe(faces), tmp_path / "run")
    assert isinstance(done, RunDone)
    assert done.report.main == "cross-validation"
    found = done.report.evaluation["cross-validation"]
    assert found.folds == 3
    assert found.metrics["toy_pair_auroc"].value > 0.5


def opened(chosen: Recipe) -> Session:
    return drained(open_session(chosen, workers=1))


def test_no_identity_is_in_two_splits_that_we_draw(faces: Path) -> None:
    session = opened(recipe(faces, source=Source(val_share=0.25)))
    assert len(session.splits.val)
    train, val = (set(session.targets[part].tolist()) for part in (session.splits.train, session.splits.val))
    assert not train & val
    assert len(train | val) == IDENTITIES
    assert len(np.unique(session.splits.groups)) == IDENTITIES, "folds are dealt by identity as well"


def test_a_classification_of_the_same_images_is_split_within_its_classes(faces: Path) -> None:
    session = opened(recipe(faces, task="classification", source=Source(val_share=0.25)))
    assert len(np.unique(session.targets[session.splits.train])) == IDENTITIES


def test_splits_with_an_identity_on_both_sides_are_refused(faces: Path) -> None:
    with pytest.raises(LeakedSplit, match="belong together"):
        opened(recipe(table(faces, "shot")))


def test_identities_that_train_lacks_are_no_reason_to_refuse(faces: Path) -> None:
    dataset: Dataset = opened(recipe(table(faces, "identity"))).dataset
    assert len(dataset.classes) == IDENTITIES


def test_the_metric_is_the_auroc_of_pairs_and_an_identity_drawn_twice_counts_twice() -> None:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(6), 3)
    outputs = random.normal(size=(18, 4)) + np.eye(6, 4)[targets]
    left, right = np.triu_indices(18, 1)
    same, alike = targets[left] == targets[right], (outputs[left] * outputs[right]).sum(1)
    assert toys.PAIRS.compute(targets, outputs) == pytest.approx(roc_auc_score(same, alike))
    times = np.array([2, 1, 0, 3, 1, 1])[targets].astype(float)
    of_pairs = np.where(same, times[left], times[left] * times[right])
    weighted = toys.PAIRS.of_weights(targets, outputs)(times[None])[0]
    assert weighted == pytest.approx(roc_auc_score(same, alike, sample_weight=of_pairs))
