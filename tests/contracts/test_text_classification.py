"""Texts from the cells of a table, by a stranger's network: read, fitted, stored, trained, measured, saved, asked."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.bundle_format import read_facts
from regraft.bundles.bundle import load
from regraft.contracts.modality import MODALITIES
from regraft.recipe import Recipe, Source
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from regraft.workbench.session import inputs_of
from toy_texts.installed import installed
from toy_texts.words import Preparation, Words

FRUIT = ("apple", "pear", "plum", "cherry", "lemon")
TOOLS = ("hammer", "saw", "nail", "drill", "chisel")
OTHER = ("the", "a", "of", "on", "my", "table", "lies", "there", "and", "old")


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("installed")):
        yield


def text_about(subject: tuple[str, ...], random: np.random.Generator) -> str:
    """Two words of the subject among 3 to 20 others: lengths differ."""
    words = [*random.choice(OTHER, random.integers(3, 21)), *random.choice(subject, 2)]
    return " ".join(random.permutation(words))


def write_table(path: Path, sizes: dict[str, int]) -> Path:
    """A table of texts; those of the test split alone hold the word `zebra`."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", *(["split"] if "train" in sizes else [])])
        for split, count in sizes.items():
            for at in range(count):
                label = ("fruit", "tools")[at % 2]
                text = text_about((FRUIT, TOOLS)[at % 2], random) + (" zebra" if split == "test" else "")
                writer.writerow([text, label, *([split] if "train" in sizes else [])])
    return path


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("divided") / "texts.csv", {"train": 60, "test": 30})


def recipe(data: Path, strategy: str, **changes: object) -> Recipe:
    options = {} if strategy == "probe" else {"epochs": 6, "min_steps": 60, "lr": 1e-3}
    given = {
        "backbone": "toy_encoder@random",
        "options": options,
        "threads": 1,
        "dtype": "float32",
        "modality": "words",
        "source": Source(text_columns=("text",)),
        **changes,
    }
    return Recipe(data=str(data), strategy=strategy, **given)  # type: ignore[arg-type]


def run(chosen: Recipe, out: Path) -> RunDone:
    *_, done = fit(chosen, out)
    assert isinstance(done, RunDone)
    return done


@pytest.fixture(scope="module", params=["probe", "partial"])
def done(request: pytest.FixtureRequest, divided: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    return run(recipe(divided, request.param), tmp_path_factory.mktemp("runs") / request.param)


def rows_of(done: RunDone, part: str = "test") -> list[dict[str, str]]:
    with (done.path / "predictions.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == part]


def test_it_learns_and_the_saved_model_predicts_what_the_run_says(done: RunDone, divided: Path) -> None:
    assert done.report.evaluation["test"].metrics["accuracy"].value > 0.85
    with divided.open(newline="") as file:
        texts = {f"row {at}": row["text"] for at, row in enumerate(csv.DictReader(file), start=2)}
    rows, bundle = rows_of(done), load(done.path, verify=True)
    predictions = bundle.predict([texts[row["id"]] for row in rows])
    for found, row in zip(predictions, rows, strict=True):
        assert found.label == row["predicted"]
        for name in ("fruit", "tools"):
            assert found.probabilities[name] == pytest.approx(float(row[f"p:{name}"]), abs=1e-4)


def test_a_text_that_nobody_wrote_before_is_predicted(done: RunDone) -> None:
    bundle = load(done.path)
    fruit, tools, strange = bundle.predict(
        ["my old apple and a plum", "a hammer lies on the saw , and a drill", "Quixotic zebras vexed!"]
    )
    assert (fruit.label, tools.label) == ("fruit", "tools")
    assert sum(strange.probabilities.values()) == pytest.approx(1)
    assert bundle.predict("my old apple and a plum")[0].probabilities == fruit.probabilities


def test_the_vocabulary_is_of_the_training_examples_alone_and_travels_with_the_model(done: RunDone) -> None:
    vocabulary = read_facts(done.path / "model")["backbone"]["card"]["preparation"]["vocabulary"]
    assert set(vocabulary) == {*FRUIT, *TOOLS, *OTHER}  # and so no zebra
    assert load(done.path).card.preparation.vocabulary == tuple(vocabulary)


def test_a_saved_model_is_the_backbone_of_the_next_and_keeps_its_vocabulary(
    done: RunDone, divided: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(divided.read_text().replace("table", "chair"))
    chained = run(recipe(other, "probe", backbone=str(done.path)), tmp_path / "run")
    words = load(chained.path).card.preparation.vocabulary
    assert words == load(done.path).card.preparation.vocabulary
    assert chained.report.evaluation["test"].metrics["accuracy"].value > 0.8


def test_another_vocabulary_is_another_key_of_the_store() -> None:
    keys = [Preparation(vocabulary=words).digest_fields() for words in (("apple", "saw"), ("saw", "apple"))]
    inputs = [
        inputs_of(MODALITIES.get("words"), [], [], Preparation(vocabulary=words), reader="words-1").fields[
            "preparation"
        ]
        for words in (("apple", "saw"), ("saw", "apple"))
    ]
    assert inputs == keys
    assert keys[0] != keys[1]


def test_in_cross_validation_every_fold_has_a_vocabulary_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text has a word of its own. A fold's vocabulary has those of the other folds' texts alone."""
    lines = [f"word{at} {(FRUIT, TOOLS)[at % 2][at % 5]} lies there,{('fruit', 'tools')[at % 2]}" for at in range(40)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    fitted = []
    real = Words.fitted

    def seen(self: Words, preparation: object, contents: object) -> object:
        found = real(self, preparation, contents)
        fitted.append({word for word in found.vocabulary if word.startswith("word")})
        return found

    monkeypatch.setattr(Words, "fitted", seen)
    done = run(recipe(tmp_path / "texts.csv", "probe", folds=4), tmp_path / "run")
    everything, *folds = fitted
    assert len(everything) == 40
    assert len(folds) == 4
    assert sorted(word for fold in folds for word in everything - fold) == sorted(everything)
    assert done.report.main == "cross-validation"
    assert len(rows_of(done, "cross-validation")) == 40
