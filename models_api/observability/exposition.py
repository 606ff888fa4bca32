"""The metrics of the service, in the text format of Prometheus, for all its worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import util
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from models_api.configuration.sections import MetricsConfiguration
from models_api.logs import SafeLogger
from models_api.observability.http_metrics import HTTPMetrics
from models_api.observability.prediction_metrics import ModelMetrics
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

logger = SafeLogger(__name__)

_STARTED, _ENDED = "worker started", "worker ended"


class Worker(Protocol):
    """What is known of the predictions of this process."""

    is_hung: bool
    """Whether one of them is taken for one that never ends."""


class Metrics(Collector):
    """Measures requests and models in this process, and tells what all processes have measured."""

    def __init__(
        self,
        configuration: MetricsConfiguration,
        shared: SharedMemoryMetrics,
        worker: Worker | None = None,
    ) -> None:
        self.shared = shared
        self.worker = worker
        self.http = HTTPMetrics(shared, configuration, on_first_request=self.start_worker)
        self.models = ModelMetrics(shared)

    def start_worker(self) -> None:
        """Count this process among the workers; it counts as lost if it ends in the midst."""
        self.shared.gauge(_STARTED).set(1)
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self._end_worker, args=(os.getpid(),), exitpriority=0)

    def _end_worker(self, pid: int) -> None:
        # One that stops because a prediction hangs has come to no good end.
        is_hung = self.worker is not None and self.worker.is_hung
        if pid == os.getpid() and not is_hung:
            self.shared.gauge(_ENDED).set(1)

    def text(self) -> bytes:
        """Write all metrics, those that the models' own code keeps with prometheus_client too."""
        written = generate_latest(self)
        try:
            return written + generate_latest(_models_own())
        except Exception:
            # Theirs may be broken, and files that they share among processes too.
            logger.exception("The metrics of the models' own code are left out")
            return written

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the service."""
        totals = self.shared.read()
        yield from self.http.families(totals)
        yield from self.models.families(totals)
        yield from _worker_families(totals)


def _worker_families(totals: Totals) -> Iterator[Metric]:
    (started,) = totals.of_kind(_STARTED).get((), [0.0])
    (ended,) = totals.of_kind(_ENDED).get((), [0.0])
    alive = sum(number for (number,) in totals.live_of_kind(_STARTED).get((), []))
    yield GaugeMetricFamily("modelhost_workers", "Worker processes that are alive.", alive)
    yield CounterMetricFamily(
        "modelhost_worker_starts", "Worker processes that were started.", started
    )
    yield CounterMetricFamily(
        "modelhost_worker_deaths",
        "Worker processes that were killed, crashed, or gave up on a prediction.",
        started - alive - ended,
    )


def _models_own() -> Collector | CollectorRegistry:
    """Where prometheus_client keeps what others measure with it."""
    if os.environ.get(MULTIPROCESS_VARIABLE):
        return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
    return REGISTRY
