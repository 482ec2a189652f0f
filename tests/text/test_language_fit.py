"""Language models, end to end: texts without labels adapt a small model, its perplexity falls, and what is saved is
measured elsewhere, compared, and asked to write."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regraft.bundles.bundle import load
from regraft.errors import BadRecipe, BadRequest
from regraft.recipe import Recipe, Source
from regraft.values import Prediction
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.explain import explain
from regraft.workbench.export import export
from regraft.workbench.fit import fit
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone
from texts import language_folder

pytest.importorskip("transformers")
NOUNS, FIRST, LAST = ("apple", "pear", "plum"), ("the old", "a", "my"), ("lies there", "on my table", "of the hammer")
Run = Callable[..., RunDone]


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_folder(kind, tmp_path_factory.mktemp("net") / "net")


def written(folder: Path, nouns: tuple[str, ...], count: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for at in range(count):
        said = [f"{random.choice(FIRST)} {random.choice(nouns)} {random.choice(LAST)}" for _ in range(1 + at % 5)]
        (folder / f"{at}.txt").write_text(" ".join([*said, f"{random.choice(nouns)} " * (1 + at % 3)]))
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    written(root / "texts" / "train", NOUNS, 60, 0)
    written(root / "texts" / "test", NOUNS, 20, 1)
    written(root / "other", ("hammer", "saw", "nail"), 8, 2)
    return root / "texts"


@pytest.fixture(scope="module")
def run(folder: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    def made(strategy: str, **changes: object) -> RunDone:
        options = {} if strategy == "probe" else {"epochs": 3, "min_steps": 0, "lr": 5e-3, "head_lr_factor": 1.0}
        given = {
            "backbone": f"language:{folder}@pretrained", "task": "language", "threads": 1, "options": options,
            "source": Source(allow_leaks=True), "prepare": {"max_tokens": 12}, "dtype": "float32", **changes,
        }  # fmt: skip
        recipe = Recipe(data=str(texts), strategy=strategy, **given)  # type: ignore[arg-type]
        *_, done = fit(recipe, tmp_path_factory.mktemp("runs") / strategy)
        assert isinstance(done, RunDone)
        return done

    return made


@pytest.fixture(scope="module")
def partial(run: Run) -> RunDone:
    return run("partial")


def perplexity(done: RunDone) -> float:
    return done.report.evaluation["test"].metrics["perplexity"].value


def test_perplexity_falls_below_that_of_the_unadapted_model_which_stands_beside(partial: RunDone, kind: str) -> None:
    found, beside = partial.report.evaluation["test"], partial.report.probe.evaluation
    assert found.main_metric == "perplexity"
    assert set(found.metrics) == {"perplexity", "bits_per_byte"}
    assert found.metrics["perplexity"].low < found.metrics["perplexity"].value < found.metrics["perplexity"].high
    assert perplexity(partial) < 0.6 * beside.metrics["perplexity"].value
    assert partial.report.paired.metric == "perplexity"
    assert partial.report.strategy.views == (4 if kind == "bert" else 1)
    assert "Perplexity" in (partial.path / "report.md").read_text()
    frozen = partial.report.strategy.frozen_stages
    assert "embeddings" in frozen


def test_the_saved_model_gives_the_runs_sums_and_is_measured_on_other_texts(
    partial: RunDone, texts: Path, tmp_path: Path
) -> None:
    bundle, paths = load(partial.path, verify=True), sorted((texts / "test").iterdir())
    records = [one.record for one in bundle.predict(paths)]
    nll, tokens = (sum(one[name] for one in records) for name in ("nll", "tokens"))
    assert math.exp(nll / tokens) == pytest.approx(perplexity(partial), rel=1e-5)
    *_, here = evaluate(partial.path, texts, out=tmp_path / "here")
    *_, there = evaluate(partial.path, texts.parent / "other", out=tmp_path / "there")
    assert isinstance(here, Evaluated)
    assert isinstance(there, Evaluated)
    assert here.report.evaluation["test"].metrics["perplexity"].value == pytest.approx(perplexity(partial), rel=1e-5)
    assert there.report.evaluation["test"].metrics["perplexity"].value > perplexity(partial)


def test_a_prompt_is_written_on_or_filled_in(partial: RunDone, kind: str, tmp_path: Path) -> None:
    bundle = load(partial.path)
    if kind == "gpt2":
        (one,) = bundle.predict("the old")
        assert one.label
        assert one.label == bundle.predict(["of my table", "the old"])[1].label  # others do not matter
    else:
        filled, untouched = bundle.predict(["the old [MASK] lies there", "the old apple"])
        assert "the old " in filled.label
        assert " lies there" in filled.label
        assert "[MASK]" not in filled.label
        assert filled.record["tokens"] == 0
        assert filled.record["perplexity"] is None
        assert untouched.label == ""
        assert untouched.record["tokens"] == 1
    rows = tmp_path / "prompts.jsonl"
    rows.write_text(json.dumps({"text": "the old"}) + "\n")
    (said,) = [one for one in predict(partial.path, [rows]) if isinstance(one, Prediction)]
    assert said.error is None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "gradual", "lora", "scratch", "pretrain"])
def test_every_strategy_adapts(run: Run, strategy: str, kind: str) -> None:
    if strategy == "lora":
        pytest.importorskip("peft")
    done = run(strategy)
    assert perplexity(done) < done.report.probe.evaluation.metrics["perplexity"].value


def test_a_probe_is_the_unadapted_model_and_a_finished_one_goes_on_with_its_output_layer(
    run: Run, partial: RunDone
) -> None:
    probe = run("probe")
    assert perplexity(probe) == pytest.approx(partial.report.probe.evaluation.metrics["perplexity"].value, rel=1e-5)
    assert compare(partial.path, probe.path).paired.metric == "perplexity"
    chained = run("probe", backbone=f"bundle:{partial.path}")
    assert perplexity(chained) == pytest.approx(perplexity(partial), rel=1e-5)


def test_what_makes_no_sense_of_a_language_model_is_refused_by_name(
    run: Run, partial: RunDone, texts: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match="A language model cannot be exported"):
        list(export(partial.path, "onnx", out=tmp_path / "onnx"))
    with pytest.raises(BadRequest, match="has no outputs per class or target"):
        list(explain(partial.path, [sorted(texts.rglob("*.txt"))[0]], out=tmp_path / "explained"))
    with pytest.raises(BadRequest, match="does not predict tokens"):
        run("probe", backbone="minilm_l6@random")
    with pytest.raises(BadRecipe, match="balanced"):
        run("full", options={"balanced": True})
    with pytest.raises(BadRecipe, match="hidden"):
        run("full", prepare={"hidden": 1.5})
