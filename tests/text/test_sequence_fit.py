"""Texts for texts, end to end: a small encoder with a decoder is cut, trained, measured by what it generates, saved and
asked. The task: of a text with one animal and one colour to say both in other words, the animal first."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.bundle_format import read_tensors
from regraft.bundles.bundle import load
from regraft.contracts.metric import metric
from regraft.errors import BadRecipe, BadRequest
from regraft.recipe import Recipe, Source, Target
from regraft.values import Prediction
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import evaluate
from regraft.workbench.fit import fit
from regraft.workbench.mistakes import mistakes
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone
from texts import pair_folder

pytest.importorskip("transformers")
pytest.importorskip("sacrebleu")
ANIMALS = {"apple": "the hammer", "pear": "a saw", "plum": "my nail"}
COLOURS = {"old": "the old table", "my": "on a table", "lies": "and there of"}
SOURCE = Source(text_columns=("source",), label_column="target")


@pytest.fixture(scope="module", params=["t5", pytest.param("marian", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair_folder(str(request.param), tmp_path_factory.mktemp("net") / "net")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("pairs") / "pairs.csv"
    seen = dict[str, str]()
    while len(seen) < 110:
        asked = [str(random.choice(list(ANIMALS))), str(random.choice(list(COLOURS)))]
        filler = random.choice(["table", "the", "of"], random.integers(1, 5))
        seen[" ".join(random.permutation([*asked, *filler]))] = f"{ANIMALS[asked[0]]} {COLOURS[asked[1]]}"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "target", "split"])
        writer.writerows([*pair, "train" if at < 80 else "test"] for at, pair in enumerate(seen.items()))
    return path


Run = Callable[..., RunDone]


@pytest.fixture(scope="module")
def run(folder: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    def made(strategy: str, **changes: object) -> RunDone:
        given = {
            "backbone": f"seq2seq:{folder}@pretrained", "task": "sequence", "source": SOURCE, "threads": 1,
            "options": {"epochs": 2, "min_steps": 0, "lr": 5e-3, "head_lr_factor": 1.0, "smoothing": 0.1},
            "prepare": {"max_target_tokens": 8}, "dtype": "float32", **changes,
        }  # fmt: skip
        recipe = Recipe(data=str(table), strategy=strategy, **given)  # type: ignore[arg-type]
        *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / strategy)
        assert isinstance(done, RunDone)
        return done

    return made


@pytest.fixture(scope="module")
def full(run: Run) -> RunDone:
    options = {"epochs": 25, "min_steps": 0, "lr": 5e-3, "head_lr_factor": 1.0, "decay": 1.0}
    return run("full", options=options, target=Target(beams=2))


def said(done: RunDone) -> dict[str, str]:
    with (done.path / "predictions.csv").open(newline="") as file:
        return {row["id"]: row["predicted"] for row in csv.DictReader(file) if row["split"] == "test"}


def test_it_learns_to_write_and_the_report_says_how_it_was_measured(full: RunDone) -> None:
    found = full.report.evaluation["test"]
    assert found.main_metric == "bleu"
    assert found.metrics["bleu"].value > full.report.probe.evaluation.metrics["bleu"].value + 20
    assert (found.metrics["bleu"].low is None) == (found.metrics["bleu"].value == pytest.approx(100))
    assert found.metrics["chrf"].value > 50
    assert "tok:13a" in (full.path / "report.md").read_text()


def test_the_saved_model_writes_what_the_run_says_without_being_shown_an_answer(
    full: RunDone, table: Path, tmp_path: Path
) -> None:
    lines = table.read_text().splitlines()
    texts = {f"row {at}": row["source"] for at, row in enumerate(csv.DictReader(lines), start=2)}
    told, bundle = said(full), load(full.path, verify=True)
    assert [one.label for one in bundle.predict([texts[name] for name in told])] == list(told.values())
    assert bundle.model.task.facts == {"beams": 2}
    rows = tmp_path / "new.csv"
    rows.write_text("source\n" + "\n".join(list(texts.values())[-3:]) + "\n")
    found = [one for one in predict(full.path, [rows], source=SOURCE) if isinstance(one, Prediction)]
    assert [one.label for one in found] == list(told.values())[-3:]
    assert list(evaluate(full.path, table, out=tmp_path / "evaluation", source=SOURCE))


@pytest.mark.parametrize("cut", ["layer.0", pytest.param("layer.2", marks=pytest.mark.slow)])
def test_below_a_cut_in_encoder_or_decoder_nothing_changes_and_the_output_layer_is_untied(
    run: Run, cut: str, full: RunDone
) -> None:
    done = run("finetune", cut=cut)
    saved = read_tensors(done.path / "model" / "model.safetensors")
    before = full.report.backbone.digest
    assert done.report.backbone.digest == before
    words = saved["embeddings/parts.words.weight"]
    assert saved["head/1.weight"].shape == words.shape
    assert not np.array_equal(saved["head/1.weight"], words)
    assert not [one for one in done.report.strategy.trained_stages if one in ("embeddings", "layer.0", cut)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["partial", "gradual", "lora", "scratch", "probe"])
def test_every_strategy_writes_texts(run: Run, strategy: str) -> None:
    options = {} if strategy == "probe" else {"epochs": 2, "min_steps": 0}
    done = run(strategy, options=options)
    assert said(done)
    assert done.report.evaluation["test"].metrics["chrf"].value >= 0


@pytest.mark.slow
def test_a_finished_model_goes_on_with_its_output_layer(run: Run, full: RunDone) -> None:
    chained = run("full", backbone=str(full.path), options={"epochs": 1, "min_steps": 0, "lr": 1e-6})
    assert chained.report.evaluation["test"].metrics["bleu"].value == pytest.approx(
        full.report.evaluation["test"].metrics["bleu"].value, abs=10
    )


def test_the_worst_texts_come_first_among_the_mistakes(run: Run) -> None:
    done = run("full")
    found = [metric("chrf").compute([one.label], [one.predicted]) for one in mistakes(done.path)]
    assert len(found) > 3
    assert np.mean(found[: len(found) // 2]) <= np.mean(found[len(found) // 2 :])


@pytest.mark.slow
def test_two_runs_are_compared_by_what_they_write(run: Run, full: RunDone) -> None:
    other = run("finetune", cut="layer.2")
    assert compare(full.path, other.path).paired.metric == "bleu"


def test_what_cannot_be_had_is_refused_before_training(run: Run, table: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="has no decoder"):
        run("full", backbone="minilm_l6@random", prepare={})
    with pytest.raises(BadRecipe, match="balanced"):
        run("full", options={"balanced": True})
    with pytest.raises(BadRecipe, match="max_target_tokens"):
        run("full", prepare={"max_target_tokens": -1})
