"""A decoder whose output is tied to its word vectors: cut inside, untied, trained, measured by what it generates."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.bundle_format import read_tensors
from regraft.bundles.bundle import load
from regraft.recipe import Recipe, Source
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from toy_texts.installed import installed

WORDS = {"dog": "hund", "cat": "katze", "cow": "kuh", "red": "rot", "blue": "blau", "green": "gruen"}
OTHER = ("the", "a", "of", "on", "my")


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("installed")):
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with one animal and one colour, to be answered by both in another language, the animal first."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("pairs") / "pairs.csv"
    animals, colours = list(WORDS)[:3], list(WORDS)[3:]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "answer", "split"])
        seen = set[str]()
        while len(seen) < 130:
            asked = [random.choice(animals), random.choice(colours)]
            text = " ".join(random.permutation([*asked, *random.choice(OTHER, random.integers(2, 8))]))
            if text not in seen:
                seen.add(text)
                split = "train" if len(seen) <= 100 else "test"
                writer.writerow([text, " ".join(WORDS[one] for one in asked), split])
    return path


@pytest.fixture(scope="module")
def done(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    recipe = Recipe(
        data=str(pairs), backbone="toy_decoder@random", task="toy_sequence", strategy="finetune", cut="decoder.0",
        threads=1, modality="words", source=Source(text_columns=("text", "answer"), label_column="answer"),
        options={"epochs": 40, "min_steps": 0, "lr": 5e-3, "head_lr_factor": 1.0, "decay": 1.0},
    )  # fmt: skip
    *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / "sequence")
    assert isinstance(done, RunDone)
    return done


def test_it_learns_more_than_its_head_alone_does(done: RunDone) -> None:
    tuned, probe = (one.metrics["exact"].value for one in (
        done.report.evaluation["test"], done.report.probe.evaluation))  # fmt: skip
    assert tuned > 0.5
    assert tuned > probe


def test_the_saved_model_generates_the_same_without_being_shown_an_answer(done: RunDone, pairs: Path) -> None:
    with pairs.open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["split"] == "test"]
    with (done.path / "predictions.csv").open(newline="") as file:
        told = [row["predicted"] for row in csv.DictReader(file) if row["split"] == "test"]
    found = load(done.path, verify=True).predict(texts)
    assert [one.label for one in found] == told


def test_the_head_is_untied_and_the_frozen_word_vectors_stay_as_they_were(done: RunDone) -> None:
    tensors = read_tensors(done.path / "model" / "model.safetensors")
    network = load(done.path).model.backbone.network
    vectors, head = tensors["embed/words.weight"], tensors["head/weight"]
    assert head.shape == vectors.shape
    assert not np.array_equal(head, vectors)
    assert network.source_head is None
    assert not [name for name in done.report.strategy.trained_stages if name != "decoder.1"]
