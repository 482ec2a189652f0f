"""Texts end to end, by a small random network in a folder: read, stored, trained, measured, saved, asked."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.bundle_format import read_facts
from regraft.bundles.bundle import load
from regraft.contracts.example import Inline
from regraft.recipe import Recipe, Source
from regraft.values import Notice, Prediction
from regraft.workbench.evaluate import evaluate
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone
from texts import folder_of

pytest.importorskip("transformers")
FRUIT, TOOLS, OTHER = (
    ("apple", "pear", "plum"),
    ("hammer", "saw", "nail"),
    ["the", "a", "of", "on", "my", "table", "lies", "there", "and", "old"],
)


def about(subject: tuple[str, ...], random: np.random.Generator) -> str:
    return " ".join(random.permutation([*random.choice(OTHER, random.integers(2, 12)), *random.choice(subject, 2)]))


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    random = np.random.default_rng(seed)
    return [(about((FRUIT, TOOLS)[at % 2], random), ("fruit", "tools")[at % 2]) for at in range(count)]


def write_csv(path: Path, sizes: dict[str, int], header: tuple[str, ...] = ("text", "label", "split")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for seed, (split, count) in enumerate(sizes.items()):
            writer.writerows([*row, split] for row in rows(count, seed))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("bert", tmp_path_factory.mktemp("bert") / "net")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "texts.csv", {"train": 60, "test": 40})


Run = Callable[..., RunDone]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    def made(data: Path, strategy: str = "probe", **changes: object) -> RunDone:
        options = {} if strategy == "probe" else {"epochs": 3, "min_steps": 30, "lr": 3e-3}
        given = {
            "backbone": f"transformers:{folder}@pretrained",
            "options": options,
            "threads": 1,
            "dtype": "float32",
            **changes,
        }
        recipe = Recipe(data=str(data), strategy=strategy, **given)  # type: ignore[arg-type]
        *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / "run")
        assert isinstance(done, RunDone)
        return done

    return made


@pytest.fixture(scope="module", params=["probe", pytest.param("partial", marks=pytest.mark.slow), "full"])
def done(request: pytest.FixtureRequest, run: Run, table: Path) -> RunDone:
    return run(table, request.param)


def test_it_learns_and_the_saved_model_predicts_what_the_run_says(done: RunDone, table: Path) -> None:
    assert done.report.evaluation["test"].metrics["accuracy"].value > 0.75
    with table.open(newline="") as file:
        texts = {f"row {at}": row["text"] for at, row in enumerate(csv.DictReader(file), start=2)}
    with (done.path / "predictions.csv").open(newline="") as file:
        said = [row for row in csv.DictReader(file) if row["split"] == "test"]
    for found, row in zip(load(done.path).predict([texts[row["id"]] for row in said]), said, strict=True):
        assert found.label == row["predicted"]
        assert found.probabilities["fruit"] == pytest.approx(float(row["p:fruit"]), abs=1e-4)


def test_the_folder_is_not_needed_any_more_once_a_model_is_saved(
    run: Run, table: Path, tmp_path: Path, folder: Path
) -> None:
    done = run(table)
    away = folder.rename(folder.with_name("away"))
    try:
        bundle = load(done.path)
        assert bundle.card.preparation.tokenizer == (away / "tokenizer.json").read_text()
        assert bundle.predict("my old apple and a plum")[0].label == "fruit"
        chained = run(table, backbone=str(done.path))
        assert chained.report.evaluation["test"].metrics["accuracy"].value > 0.75
    finally:
        away.rename(folder)


def test_rows_of_tables_files_and_folders_are_predicted_and_evaluated(run: Run, table: Path, tmp_path: Path) -> None:
    done = run(table)
    new = write_csv(tmp_path / "new.csv", {"test": 6})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("the hammer and the nail on my table")
    found = [one for one in predict(done.path, [new, tmp_path / "texts"]) if isinstance(one, Prediction)]
    assert {one.id for one in found} >= {"row 2", str(tmp_path / "texts" / "one.txt")}
    assert len(found) == 7
    assert list(evaluate(done.path, new, out=tmp_path / "evaluation"))
    assert "apple" not in read_facts(done.path / "model")["facts"]


def test_a_pair_of_texts_is_one_example(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["one", "two", "same", "split"])
        for at in range(90):
            first, second = (FRUIT, FRUIT) if at % 2 else (FRUIT, TOOLS)
            writer.writerow([about(first, random), about(second, random), at % 2, "train" if at < 60 else "test"])
    source = Source(text_columns=("one", "two"), label_column="same")
    done = run(tmp_path / "pairs.csv", "probe", source=source, task="classification")
    bundle = load(done.path)
    record = bundle.prepare(("the apple", "the saw"))
    assert record["types"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert done.report.evaluation["test"].metrics["accuracy"].value > 0.6
    (first, second) = bundle.predict([("my old apple", "the pear"), ("my old apple", "the pear and the saw")])
    assert first.probabilities != second.probabilities


def test_json_lines_parquet_and_data_frames_are_read_as_tables(run: Run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        [(*row, split) for seed, split in enumerate(("train", "test")) for row in rows(30, seed)],
        columns=["review", "label", "split"],
    )
    lines = "".join(json.dumps(dict(row)) + "\n" for _, row in frame.iterrows())
    (tmp_path / "texts.jsonl").write_text(lines)
    frame.to_parquet(tmp_path / "texts.parquet")
    accuracies = [
        run(tmp_path / f"texts.{kind}").report.evaluation["test"].metrics["accuracy"].value
        for kind in ("jsonl", "parquet")
    ]
    assert accuracies[0] == accuracies[1] > 0.6


def test_folders_of_txt_are_classes_and_give_way_to_images(run: Run, tmp_path: Path) -> None:
    for at, (text, label) in enumerate(rows(60)):
        path = tmp_path / "texts" / ("train" if at < 40 else "test") / label / f"{at}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert run(tmp_path / "texts").report.evaluation["test"].metrics["accuracy"].value > 0.6
    from PIL import Image

    from regraft.data.open import open_dataset

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for at in range(2):
            Image.new("RGB", (8, 8), (at, 9, 9)).save(tmp_path / "images" / label / f"{at}.png")
        (tmp_path / "images" / label / "readme.txt").write_text("about these images")
    found = open_dataset(tmp_path / "images")
    assert (found.modality, found.num_examples) == ("image", 4)


def test_texts_that_are_too_long_are_cut_and_it_is_said(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "long.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        writer.writerows([*row, "train" if at < 20 else "test"] for at, row in enumerate(rows(40)))
        writer.writerow(["apple " * 17_000, "fruit", "train"])
    notes = [one.text for one in notices_of(run(tmp_path / "long.csv").path)]
    assert any("1 text has more than the 64 tokens" in one and "row 42" in one for one in notes)


def test_long_texts_are_read_in_windows_where_they_overlap(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with (tmp_path / "long.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "split"])
        for at in range(60):  # what tells the class stands at the end
            words = [*random.choice(OTHER, random.integers(5, 50)), *random.choice((FRUIT, TOOLS)[at % 2], 6)]
            writer.writerow([" ".join(words), ("fruit", "tools")[at % 2], "train" if at < 40 else "test"])
    short, long = (run(tmp_path / "long.csv", prepare={"max_tokens": 16, **more}) for more in ({}, {"overlap": 4}))
    ours, theirs = (one.report.evaluation["test"].metrics["accuracy"].value for one in (long, short))
    assert ours > max(theirs, 0.8)
    assert not [one for one in notices_of(long.path) if "more than the 16 tokens" in one.text]
    text = " ".join(["the"] * 40 + ["plum"] * 6)
    assert load(long.path).predict(text)[0].label == "fruit"
    assert load(long.path).modality.pieces({"text": Inline(text)}, load(long.path).card.preparation) == 5


def notices_of(path: Path) -> list[Notice]:
    events = map(json.loads, (path / "events.jsonl").read_text().splitlines())
    return [Notice(text=one["text"], topic=one["topic"]) for one in events if one["type"] == "Notice"]
