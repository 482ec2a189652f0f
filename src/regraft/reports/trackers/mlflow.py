"""MLflow: a run in the folder `mlruns` beside the run's own, read by `mlflow ui --backend-store-uri runs/mlruns`.

Nothing is sent anywhere: the store is always a folder, whatever MLFLOW_TRACKING_URI says, and telemetry is off.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from regraft.contracts.tracker import Tracker
from regraft.errors import MissingExtra

LONGEST = 500
"""Characters of a setting that are kept."""


def library() -> Any:
    """MLflow's client, silenced.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # MLflow 3 asks for a database otherwise
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtra("mlflow-skinny", "mlflow", "Logging to MLflow") from error
    return mlflow


class MLflow(Tracker):
    """Metrics by steps, the recipe as parameters, the report's figures as metrics."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._library = library()

    def values(self, step: int, values: Mapping[str, float]) -> None:
        client, run = self._run
        for name, value in values.items():
            client.log_metric(run, name.replace(" ", "_"), value, step=step)

    def finished(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        client, run = self._run
        for name, value in settings.items():
            client.log_param(run, name, str(value)[:LONGEST])
        self.values(0, {f"report/{name}": value for name, value in results.items()})
        client.set_terminated(run)

    @cached_property
    def _run(self) -> tuple[Any, str]:
        store = (self.folder.parent / "mlruns").absolute().as_uri()
        client = self._library.MlflowClient(tracking_uri=store)
        known = client.get_experiment_by_name("regraft")
        experiment = known.experiment_id if known else client.create_experiment("regraft")
        return client, client.create_run(experiment, run_name=self.folder.name).info.run_id


ENTRY = MLflow
