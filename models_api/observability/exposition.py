"""The metrics of the service, in the text format of Prometheus, for all its worker processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import util
from typing import Protocol

from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.http_metrics import HTTPMetrics
from models_api.observability.models_own_metrics import Families, ModelsOwnMetrics
from models_api.observability.prediction_metrics import ModelMetrics
from models_api.observability.reload_metrics import ReloadMetrics, of_followers, reload_families
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

_STARTED, _ENDED, _INFO = "worker started", "worker ended", "info"


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
        fingerprint: str = "",
    ) -> None:
        """Make them; `fingerprint` tells one content of the configuration file from others."""
        self.shared = shared
        self.worker = worker
        self.http = HTTPMetrics(shared, configuration, on_first_request=self.start_worker)
        self.models = ModelMetrics(shared)
        self.reloads = ReloadMetrics(shared)
        self._models_own = ModelsOwnMetrics(shared)
        self._info = (_version(), fingerprint)
        shared.call_on_open(self._publish_info)

    def start_worker(self) -> None:
        """Count this process among the workers; it counts as lost if it ends in the midst."""
        self.shared.gauge(_STARTED).set(1)
        # Runs at the end of processes of multiprocessing too, where atexit does not.
        util.Finalize(None, self._end_worker, args=(os.getpid(),), exitpriority=0)

    def use_configuration(self, fingerprint: str) -> None:
        """Tell of another content of the configuration file from now on."""
        if fingerprint != self._info[1]:
            self.shared.gauge(_INFO, self._info).set(math.nan)
            self._info = self._info[0], fingerprint
            self._publish_info()

    def _publish_info(self) -> None:
        self.shared.gauge(_INFO, self._info).set(1)

    def _end_worker(self, pid: int) -> None:
        # One that stops because a prediction hangs has come to no good end.
        is_hung = self.worker is not None and self.worker.is_hung
        if pid == os.getpid() and not is_hung:
            self.shared.gauge(_ENDED).set(1)

    def text(self) -> bytes:
        """Write all metrics, those that the models' own code keeps with prometheus_client too."""
        totals = self.shared.read()
        families = list(self._families(totals))
        names = {family.name for family in families}
        names.update(sample.name for family in families for sample in family.samples)
        models_own = self._models_own.text(totals, names, _workers_alive(totals))
        return generate_latest(Families(families)) + models_own

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the service."""
        yield from self._families(self.shared.read())

    def _families(self, totals: Totals) -> Iterator[Metric]:
        yield from self.http.families(totals)
        yield from self.models.families(totals)
        yield from _worker_families(totals)
        yield _info_family(totals)
        yield from reload_families(totals)


def _version() -> str:
    try:
        return version("modelhost")
    except PackageNotFoundError:  # the app was copied, not installed
        return ""


def _info_family(totals: Totals) -> Metric:
    family = GaugeMetricFamily(
        "modelhost_info",
        "1 for the version of modelhost, and the configuration file's content, of live processes.",
        labels=("version", "configuration"),
    )
    for labels, processes in of_followers(totals).live_of_kind(_INFO).items():
        if any(number == 1 for (number,) in processes):
            family.add_metric(labels, 1)
    return family


def _worker_families(totals: Totals) -> Iterator[Metric]:
    (started,) = totals.of_kind(_STARTED).get((), [0.0])
    (ended,) = totals.of_kind(_ENDED).get((), [0.0])
    alive = _workers_alive(totals)
    yield GaugeMetricFamily("modelhost_workers", "Worker processes that are alive.", alive)
    yield CounterMetricFamily(
        "modelhost_worker_starts", "Worker processes that were started.", started
    )
    yield CounterMetricFamily(
        "modelhost_worker_deaths",
        "Worker processes that were killed, crashed, or gave up on a prediction.",
        started - alive - ended,
    )


def _workers_alive(totals: Totals) -> float:
    return sum(number for (number,) in totals.live_of_kind(_STARTED).get((), []))
