"""The metrics of a whole service: requests, models, and the processes that serve them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.exposition import Metrics
from models_api.observability.shared_memory import SharedMemoryMetrics
from tests.end_to_end.server import REPOSITORY
from tests.in_process import InProcessService

WORKER = """\
import os, sys
from pathlib import Path
from models_api.configuration.sections import MetricsConfiguration
from models_api.observability.exposition import Metrics
from models_api.observability.shared_memory import SharedMemoryMetrics

shared = SharedMemoryMetrics(lambda: Path(sys.argv[1]))
metrics = Metrics(MetricsConfiguration(enabled=True), shared)
metrics.start_worker()
"""
CHILD = """\
from multiprocessing import get_context

child = get_context("fork").Process(target=int)
child.start()
child.join()
"""


def end(folder: Path, how: str = "") -> None:
    """Let a worker process start, and end in a way of its own."""
    subprocess.run([sys.executable, "-c", WORKER + how, str(folder)], check=False, cwd=REPOSITORY)


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[Metrics]:
    shared = SharedMemoryMetrics(lambda: tmp_path)
    yield Metrics(MetricsConfiguration(enabled=True), shared)
    shared.close()


def lines(metrics: Metrics, name: str) -> list[str]:
    return [line for line in metrics.text().decode().splitlines() if line.startswith(name)]


def workers(metrics: Metrics) -> dict[str, float]:
    return {
        name: float(number)
        for name, number in (line.split() for line in lines(metrics, "modelhost_worker"))
    }


def test_before_any_worker_has_started_there_are_none(metrics: Metrics) -> None:
    assert workers(metrics) == {
        "modelhost_workers": 0,
        "modelhost_worker_starts_total": 0,
        "modelhost_worker_deaths_total": 0,
    }


@pytest.mark.parametrize(
    ("how", "deaths"),
    [
        (CHILD, 0),
        ("os.kill(os.getpid(), 9)", 1),
        ("metrics.worker = type('Hung', (), {'is_hung': True})", 1),
    ],
    ids=["in peace, after a child of its own", "killed", "for a hung prediction"],
)
def test_a_worker_that_did_not_end_in_peace_is_a_death(
    metrics: Metrics, tmp_path: Path, how: str, deaths: int
) -> None:
    metrics.start_worker()
    end(tmp_path, how)
    assert workers(metrics) == {
        "modelhost_workers": 1,
        "modelhost_worker_starts_total": 2,
        "modelhost_worker_deaths_total": deaths,
    }


def test_what_runs_is_told_once_however_many_workers_there_are(tmp_path: Path) -> None:
    all_shared = [SharedMemoryMetrics(lambda: tmp_path) for _ in range(3)]
    enabled = MetricsConfiguration(enabled=True)
    made = [Metrics(enabled, shared, fingerprint="0123456789ab") for shared in all_shared]
    told = f'modelhost_info{{configuration="0123456789ab",version="{version("modelhost")}"}} 1.0'
    for each in made:
        each.start_worker()
        assert lines(each, "modelhost_info") == [told]
    for shared in all_shared:
        shared.close()


def test_the_models_of_a_service_are_told_of(metrics: Metrics) -> None:
    models = [
        {"class_path": "tests.fakes.models.DoublingModel"},
        {"class_path": "tests.fakes.models.FailingModel"},
    ]
    service = InProcessService({"models": models})
    meters = [metrics.models.meter(model) for model in service.registry]
    assert len(meters) == 2
    assert lines(metrics, "model_ready") == [
        'model_ready{model="doubling",version="1.0.0"} 1.0',
        'model_ready{model="failing",version="1.0.0"} 0.0',
    ]
    assert lines(metrics, 'model_load_seconds{model="doubling",version="1.0.0"} ')


def test_what_models_count_by_themselves_is_there_too(metrics: Metrics) -> None:
    counter = Counter("counted_by_a_model", "Something.")
    try:
        counter.inc(3)
        assert lines(metrics, "counted_by_a_model_total") == ["counted_by_a_model_total 3.0"]
    finally:
        REGISTRY.unregister(counter)


class BrokenCollector(Collector):
    """A model's own metrics, which cannot be had."""

    def describe(self) -> list[Metric]:
        """Name none."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Fail."""
        raise RuntimeError("no metrics today")


def test_what_models_count_by_themselves_can_break_nothing(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    REGISTRY.register(broken := BrokenCollector())
    try:
        with caplog.at_level(logging.ERROR, "models_api.observability.models_own_metrics"):
            assert lines(metrics, "modelhost_workers ") == ["modelhost_workers 0.0"]
    finally:
        REGISTRY.unregister(broken)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["The metrics of BrokenCollector, of a model's own code, are left out"]


def test_what_breaks_takes_no_other_metric_with_it_and_is_said_once(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    broken, counter = BrokenCollector(), Counter("counted_beside_it", "Something.")
    REGISTRY.register(broken)
    try:
        for _ in range(3):
            assert lines(metrics, "counted_beside_it_total") == ["counted_beside_it_total 0.0"]
    finally:
        REGISTRY.unregister(broken)
        REGISTRY.unregister(counter)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (
            GaugeMetricFamily("modelhost_workers", "The service's name.", value=9),
            "A model's metric modelhost_workers is left out: the service has that name",
        ),
        (
            CounterMetricFamily("http_requests", "Likewise.", value=9),
            "A model's metric http_requests is left out: the service has that name",
        ),
        (
            GaugeMetricFamily("with_a_label", "A label that is no text.", labels=["number"]),
            "The metric with_a_label, of a model's own code, is left out",
        ),
    ],
)
def test_a_metric_that_cannot_be_shown_is_left_out_and_named_in_the_log(
    metrics: Metrics, caplog: pytest.LogCaptureFixture, family: Metric, said: str
) -> None:
    if isinstance(family, GaugeMetricFamily) and family.name == "with_a_label":
        family.add_metric([5], 1)  # type: ignore[list-item]

    class Telling(Collector):
        def collect(self) -> list[Metric]:
            return [family]

    REGISTRY.register(telling := Telling())
    try:
        for _ in range(2):
            assert workers(metrics)["modelhost_workers"] == 0
            assert not lines(metrics, "with_a_label")
    finally:
        REGISTRY.unregister(telling)
    assert [record.getMessage() for record in caplog.records] == [said]


def test_what_is_said_of_the_target_is_there_too(metrics: Metrics) -> None:
    REGISTRY.set_target_info({"team": "ours"})
    try:
        assert lines(metrics, "target_info") == ['target_info{team="ours"} 1.0']
    finally:
        REGISTRY.set_target_info(None)


def test_a_collector_may_tell_of_a_metric_in_several_parts(metrics: Metrics) -> None:
    class InParts(Collector):
        def collect(self) -> Iterator[Metric]:
            for shard in ("1", "2"):
                family = GaugeMetricFamily("in_parts", "Something.", labels=["shard"])
                family.add_metric([shard], 5)
                yield family

    class Undescribed(InParts):
        def describe(self) -> list[Metric]:
            return []

    REGISTRY.register(telling := Undescribed())
    try:
        shown = ['in_parts{shard="1"} 5.0', 'in_parts{shard="2"} 5.0']
        assert lines(metrics, "in_parts") == shown
    finally:
        REGISTRY.unregister(telling)
