"""Prometheus metrics. With several workers, each writes its own files to the folder in PROMETHEUS_MULTIPROC_DIR, and
the worker that receives the request for metrics adds them up."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 12, 16)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Meters:
    """The metrics of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        given: Any = {"registry": self._registry}
        self._requests = Counter(
            "regraft_requests", "Requests, by model and HTTP status.", ["model", "status"], **given
        )
        self._seconds = Histogram(
            "regraft_request_seconds", "Latency from the first byte to the last.", ["model"], buckets=SECONDS, **given
        )
        self._batches = Histogram("regraft_batch_inputs", "Inputs per batch.", ["model"], buckets=SIZES, **given)
        self._pending = Gauge(
            "regraft_pending_inputs", "Inputs accepted but not yet predicted.", ["model"],
            multiprocess_mode="livesum", **given,
        )  # fmt: skip
        self._models: Mapping[str, Any] = {}

    def watch(self, models: Mapping[str, Any]) -> None:
        """Register gauges for the number of pending inputs of each model."""
        self._models = models

    def batches(self, name: str) -> Callable[[int], object]:
        """Return the callback that records batch sizes of a model."""
        return self._batches.labels(name).observe

    def done(self, name: str, status: int, seconds: float) -> None:
        """Count a request; the model's name is empty if the request is not for a model."""
        self._requests.labels(name, status).inc()
        if name:
            self._seconds.labels(name).observe(seconds)
            self._pending.labels(name).set(self._models[name].pending)

    def exposed(self) -> tuple[bytes, str]:
        """Return all metrics in Prometheus's format, and its media type."""
        registry = self._registry
        if os.environ.get(FOLDER):
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST
