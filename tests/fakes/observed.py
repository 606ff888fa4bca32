"""Models whose own code keeps metrics of every kind, some of them in ways of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ml_base import MLModel
from prometheus_client import REGISTRY, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel

ROWS = Counter("observed_rows", "Rows.", ["parity"])
SIZE = Histogram("observed_size", "Size.", buckets=[1, 10])
WEIGHT = Summary("observed_weight", "Weight.", namespace="own")
LAST = Gauge("observed_last", "The last one.", multiprocess_mode="mostrecent")
BUILD = Info("observed_build", "Build.")
STATE = Enum("observed_state", "State.", states=["cold", "warm"])
CACHED = Gauge("observed_cached", "Cached.", multiprocess_mode="livesum")
PARTLY = Gauge("observed_partly", "Either way.", ["way"])

BUILD.info({"revision": "a1b2"})
CACHED.set_function(lambda: 42)
PARTLY.labels("asked").set_function(lambda: 7)
PARTLY.labels(way="told").set(3)


class Observing(Collector):
    """A collector of its own."""

    seen = 0

    def describe(self) -> list[Metric]:
        """Name none."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Tell what was seen."""
        yield CounterMetricFamily("observed_by_collector", "Seen.", value=self.seen)
        yield GaugeMetricFamily("http_requests", "Of the service's name.", value=1)


OBSERVING = Observing()
REGISTRY.register(OBSERVING)


class BrokenCollector(Observing):
    """One that cannot collect."""

    def collect(self) -> Iterator[Metric]:
        """Fail."""
        raise ConnectionError("nobody answers")


REGISTRY.register(BrokenCollector())


class ObservedInput(BaseModel):
    value: int


class ObservedOutput(BaseModel):
    process: int


class ObservedModel(MLModel):
    """Says which process it is in."""

    display_name = "Observed"
    qualified_name = "observed"
    description = "Measures what it does."
    version = "1.0.0"
    input_schema = ObservedInput
    output_schema = ObservedOutput

    def __init__(self) -> None:
        """Count that it was loaded."""
        ROWS.labels("loaded").inc()
        STATE.state("warm")

    def predict(self, data: ObservedInput) -> ObservedOutput:
        """Measure."""
        ROWS.labels("odd" if data.value % 2 else "even").inc()
        SIZE.observe(data.value)
        WEIGHT.observe(data.value)
        LAST.set(data.value)
        OBSERVING.seen += 1
        return ObservedOutput(process=os.getpid())
