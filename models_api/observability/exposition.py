"""The metrics of the service, in the text format of Prometheus, for all its worker processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from multiprocessing import util

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from models_api.configuration.sections import MetricsConfiguration
from models_api.hosting.registry import ModelRegistry
from models_api.observability.http_metrics import HTTPMetrics
from models_api.observability.prediction_metrics import ModelMetrics
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE
from models_api.observability.shared_memory import Key, SharedValues, Totals
from models_api.prediction.admission import Admission

logger = logging.getLogger(__name__)

_WORKER = Key("worker", ())
_STARTED, _ENDED = range(2)


class Metrics(Collector):
    """Measures requests and models in this process, and tells what all processes have measured."""

    def __init__(self, configuration: MetricsConfiguration, shared: SharedValues) -> None:
        self.shared = shared
        self.http = HTTPMetrics(self.shared, configuration)
        self.models = ModelMetrics(self.shared)
        self.shared.on_open = self.models.publish
        self.http.on_first_request = self.start_worker
        self._admission: Admission | None = None

    def watch(self, registry: ModelRegistry) -> None:
        """Measure the models of the service."""
        self.models.watch(registry)
        self._admission = registry.admission

    def start_worker(self) -> None:
        """Count this process among the workers; it counts as lost if it ends in the midst."""
        first = self.shared.place(*_WORKER, 2)
        with self.shared.lock:
            self.shared.values[first + _STARTED] = 1
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self._end_worker, args=(first, os.getpid()), exitpriority=0)

    def _end_worker(self, first: int, pid: int) -> None:
        # One that stops because a prediction hangs has come to no good end.
        is_hung = self._admission is not None and self._admission.is_hung
        if pid == os.getpid() and not is_hung:
            with self.shared.lock:
                self.shared.values[first + _ENDED] = 1

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
    started, ended = totals.sums.get(_WORKER, [0.0, 0.0])
    alive = sum(records[_WORKER][_STARTED] for records in totals.live if _WORKER in records)
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
