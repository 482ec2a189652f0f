"""What trackers write, read by the programs that it is for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from regraft.contracts.tracker import TRACKERS
from regraft.errors import UnknownName
from regraft.values import Event, Progress
from regraft.workbench.run import RunDone, tracked
from sample_report import sample_report


def run(folder: Path) -> Iterator[Event]:
    """The events of a fit of two epochs."""
    for done in (10, 20):
        yield Progress(phase="training", done=done, total=20, facts={"loss": 1 / done, "val_loss": 2 / done})
        yield Progress(phase="evaluation", done=done, total=20, facts={"loss": 99.0})
    yield RunDone(path=folder, report=sample_report())


def test_tensorboard_reads_the_curves_and_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(list(tracked(run(tmp_path), ["tensorboard"], tmp_path))) == 5
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in found.Scalars("loss")] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(0.05)),
    ]
    section = sample_report().section
    assert section is not None
    (accuracy,) = found.Scalars("report/accuracy")
    assert accuracy.value == pytest.approx(section.metrics["accuracy"].value)
    assert "recipe/text_summary" in found.Tags()["tensors"]


def test_mlflow_reads_the_curves_the_figures_and_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from regraft.reports.trackers.mlflow import library

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    folder = tmp_path / "runs" / "ants"
    list(tracked(run(folder), ["mlflow"], folder))
    client = library().MlflowClient(tracking_uri=(tmp_path / "runs" / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("regraft").experiment_id])
    assert [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, "loss")] == [
        (10, 0.1),
        (20, 0.05),
    ]
    assert found.data.params["strategy"] == "partial"
    assert 0 < found.data.metrics["report/accuracy"] < 1
    assert (found.info.run_name, found.info.status) == ("ants", "FINISHED")


def test_a_tracker_that_nobody_knows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    assert set(TRACKERS) == {"mlflow", "tensorboard"}
    with pytest.raises(UnknownName, match="tensorbord"):
        next(tracked(run(tmp_path), ["tensorbord"], tmp_path))
