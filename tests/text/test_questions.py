"""Questions end to end, by a small random network: read, stored, trained, measured, saved, asked."""

import csv
import json
from pathlib import Path

import pytest

from questions import squad
from regraft.bundles.bundle import load
from regraft.errors import BadRequest
from regraft.recipe import Recipe, Source
from regraft.values import Prediction
from regraft.workbench.compare import compare
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.explain import explain
from regraft.workbench.export import export
from regraft.workbench.fit import fit
from regraft.workbench.mistakes import mistakes
from regraft.workbench.predict import predict
from regraft.workbench.run import RunDone
from texts import CONFIGS, folder_of

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    squad(folder / "train.json", 96, without=5)
    return squad(folder / "test.json", 32, seed=1, longest=40, without=5).parent


def run(data: Path, folder: Path, strategy: str = "full", kind: str = "bert", **options: object) -> RunDone:
    net = folder_of(kind, folder / "net")
    recipe = Recipe(
        data=str(data), backbone=f"transformers:{net}@pretrained", strategy=strategy, prepare={"max_tokens": 24},
        options={"epochs": 10, "min_steps": 0, "lr": 3e-3, "batch": 8, **options}, threads=1, dtype="float32",
    )  # fmt: skip
    *_, done = fit(recipe, folder / strategy)
    assert isinstance(done, RunDone)
    return done


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDone:
    return run(data, tmp_path_factory.mktemp("full"))


def test_it_learns_more_than_its_head_alone_does(done: RunDone) -> None:
    tuned, probe = done.report.evaluation["test"], done.report.probe
    assert tuned.metrics["exact_match"].value > 0.9
    assert probe is not None
    assert tuned.metrics["answer_f1"].value > probe.evaluation.metrics["answer_f1"].value + 0.3
    assert done.report.paired is not None
    assert done.report.paired.metric == "answer_f1"
    (sentence,) = done.report.baselines
    assert sentence.evaluation.metrics["answer_f1"].value > 0  # all words are one sentence there
    assert "Answers" in (done.path / "report.md").read_text()


def test_the_saved_model_gives_what_the_run_did_from_json_tables_and_python(
    done: RunDone, data: Path, tmp_path: Path
) -> None:
    with (done.path / "predictions.csv").open(newline="") as file:
        told = {row["id"]: json.loads(row["record"]) for row in csv.DictReader(file) if row["split"] == "test"}
    questions = json.loads((data / "test.json").read_text())["data"]
    for article in questions:
        for paragraph in article["paragraphs"]:
            del paragraph["qas"][0]["answers"], paragraph["qas"][0]["is_impossible"]
    (tmp_path / "new.json").write_text(json.dumps({"data": questions}))
    found = [one for one in predict(done.path, [tmp_path / "new.json"]) if isinstance(one, Prediction)]
    assert {one.id: one.record["text"] for one in found} == {name: one["text"] for name, one in told.items()}
    assert {one.id: one.record["score"] for one in found} == pytest.approx(
        {name: one["score"] for name, one in told.items()}, abs=1e-3
    )
    question, context = "the saw there", "my old hammer lies there on the table and the apple"
    (tmp_path / "new.csv").write_text(f"question,context\n{question},{context}\n")
    source = Source(text_columns=("question", "context"))
    (row,) = [one for one in predict(done.path, [tmp_path / "new.csv"], source=source) if isinstance(one, Prediction)]
    (said,) = load(done.path).predict((question, context))
    assert said.label == row.label == context[said.record["start"] : said.record["end"]] == "hammer"


def test_it_is_evaluated_and_compared_as_other_models_are(done: RunDone, data: Path, tmp_path: Path) -> None:
    *_, last = evaluate(done.path, data / "test.json", out=tmp_path / "evaluation")
    assert isinstance(last, Evaluated)
    ours, theirs = (one.evaluation["test"].metrics["answer_f1"] for one in (last.report, done.report))
    assert (ours.value, ours.low, ours.high) == (theirs.value, theirs.low, theirs.high)
    assert compare(done.path, tmp_path / "evaluation").paired.difference.value == 0


def test_what_is_not_there_is_named(done: RunDone, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="A span model cannot be exported"):
        list(export(done.path, "onnx", out=tmp_path / "export"))
    (tmp_path / "one.txt").write_text("the saw there")
    pytest.importorskip("captum")
    with pytest.raises(BadRequest, match="A span model has no outputs per class"):
        list(explain(done.path, [tmp_path / "one.txt"], out=tmp_path / "explained"))


def test_a_mistake_is_what_exact_match_calls_wrong(done: RunDone) -> None:
    with (done.path / "predictions.csv").open(newline="") as file:
        wrong = {
            row["id"] for row in csv.DictReader(file) if row["split"] == "test" and row["label"] != row["predicted"]
        }
    assert {one.id for one in mistakes(done.path)} <= wrong


@pytest.mark.slow
def test_a_question_with_its_context_is_served_by_name(done: RunDone) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from doors.serving import running

    pairs = [("the saw there", "my old hammer lies there"), ("old apple there", "the plum and the nail")]
    wanted = [one.label for one in load(done.path, threads=1).predict(pairs)]
    sent = {"inputs": [{"contents": {"question": one, "context": other}} for one, other in pairs]}
    with running({"spans": done.path}) as server:
        found = server.ask("/v1/models/spans/predict", sent).json["predictions"]
        assert [one["label"] for one in found] == wanted
        assert found[0]["record"]["text"] == wanted[0]
        assert server.ask("/v1/models/spans/predict", {"inputs": [{"contents": {"text": "a"}}]}).status == 400
        assert server.ask("/v1/models/spans/predict", {"inputs": ["a"]}).status == 400
        tensor = {"name": "input", "datatype": "BYTES", "shape": [1], "data": ["a"]}
        assert server.ask("/v2/models/spans/infer", {"inputs": [tensor]}).status == 400
        assert server.ask("/v1/models/spans/example").status == 404
        assert server.ask("/docs").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["partial", "gradual", "lora", "scratch"])
def test_every_strategy_that_takes_steps_trains_it(data: Path, tmp_path: Path, strategy: str) -> None:
    done = run(data, tmp_path, strategy)
    assert done.report.evaluation["test"].metrics["answer_f1"].value > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "bert"])
def test_every_type_of_network_reads_questions(data: Path, tmp_path: Path, kind: str) -> None:
    done = run(data, tmp_path, "partial", kind=kind, epochs=1)
    assert done.report.evaluation["test"].num_examples == 32
    assert load(done.path, verify=True).predict(("the saw there", "my old hammer lies there"))[0].record is not None
