"""Questions with a context in windows: targets that move with the pieces, predictions that merge them."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from regraft.bundles.bundle import load
from regraft.contracts.example import Inline
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import TASKS
from regraft.recipe import Recipe, Source
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from toy_texts.installed import installed
from toy_texts.words import Preparation

COLOURS, ANIMALS = ("red", "blue", "green"), ("dog", "cat", "cow")
OTHER = ("the", "a", "of", "on", "my", "table", "lies", "there", "and", "old")
COLUMNS = ("question", "context")


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("installed")):
        yield


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Contexts of 6 to 20 words, and so of one to four windows of 8, with one colour and one animal each."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("questions") / "questions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "label", "split"])
        for at in range(130):
            asked = [random.choice(COLOURS), random.choice(ANIMALS)]
            words = random.permutation([*random.choice(OTHER, random.integers(4, 19)), *asked])
            context, answer = " ".join(words), asked[at % 2]
            start = f" {context} ".index(f" {answer} ")
            label = f"{start}:{start + len(answer)}"
            writer.writerow(
                [f"which {('colour', 'animal')[at % 2]} ?", context, label, "train" if at < 100 else "test"]
            )
    return path


def rows_in(path: Path, **wanted: str) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def done(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    recipe = Recipe(
        data=str(questions), backbone="toy_encoder:windows@random", task="toy_span", strategy="finetune", cut="embed",
        threads=1, modality="words", source=Source(text_columns=COLUMNS),
        options={"epochs": 25, "min_steps": 0, "lr": 5e-3, "head_lr_factor": 1.0, "decay": 1.0},
    )  # fmt: skip
    *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / "span")
    assert isinstance(done, RunDone)
    return done


def test_it_learns_more_than_its_head_alone_does(done: RunDone) -> None:
    tuned, probe = (one.metrics["exact"].value for one in (
        done.report.evaluation["test"], done.report.probe.evaluation))  # fmt: skip
    assert tuned > 0.6
    assert tuned > probe  # which cannot tell the question from its answer's neighbours
    assert done.report.paired.metric == "exact"


def test_the_saved_model_answers_as_the_run_did_whatever_the_number_of_windows(done: RunDone, questions: Path) -> None:
    asked, bundle = rows_in(questions, split="test"), load(done.path, verify=True)
    found = bundle.predict([{name: Inline(row[name]) for name in COLUMNS} for row in asked])
    told = rows_in(done.path / "predictions.csv", split="test")
    assert [row["label"] for row in told] == [row["label"] for row in asked]
    assert [one.label for one in found] == [row["predicted"] for row in told]
    windows = [
        bundle.modality.pieces({name: Inline(row[name]) for name in COLUMNS}, bundle.card.preparation) for row in asked
    ]
    assert {1, 2, 3} <= set(windows)


def test_a_target_moves_with_its_window_and_is_none_where_it_is_not() -> None:
    words, task = MODALITIES.get("words"), TASKS.get("toy_span")(())
    contents = {"question": Inline("which ?"), "context": Inline("aa bb cc dd ee")}
    preparation = Preparation(window=3, stride=2)
    assert words.pieces(contents, preparation) == 2
    offsets = [words.load(contents, preparation, None, piece)[1]["offsets"] for piece in (0, 1)]
    encoded = task.encoded(task.encode(["9:11", "9:11"]), {"offsets": np.stack(offsets)})
    assert encoded["start"].tolist() == encoded["end"].tolist() == [0, 3]


def test_pieces_are_merged_by_the_best_span_over_its_own_piece_without_an_answer() -> None:
    task, offsets = TASKS.get("toy_span")(()), np.array([[[0, 0], [0, 2], [3, 5]], [[0, 0], [3, 5], [6, 8]]])
    start = np.array([[2.0, 3.0, 0.0], [0.0, 0.0, 2.5]])
    raw = task.gathered([{"start": start, "end": start}], np.array([0, 0]), {"offsets": offsets})
    assert task.decode(raw) == ["6:8"]  # 2.5 + 2.5 - 0, against 3 + 3 - 4
