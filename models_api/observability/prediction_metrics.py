"""What is measured of the models: their predictions, their batches, and how they are."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from models_api.error_table import outcome_of
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelState
from models_api.observability.metric_types import Gauge, Histogram, HistogramValues
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals
from models_api.prediction.instruments import Instruments
from models_api.prediction.request_context import current_request

SUCCESS = "success"

DURATION_BUCKETS = (
    *(0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""In seconds; small models take some 50 microseconds."""
BATCH_BUCKETS = tuple(2.0**power for power in range(11))

# Kinds of records.
_PREDICTION, _QUEUE, _BATCH = "prediction", "queue", "batch"
_IN_FLIGHT, _QUEUE_DEPTH = "in flight", "queue depth"
_READY, _HEALTHY, _LOAD_SECONDS, _STATE = "ready", "healthy", "load seconds", "state"
_STATES = tuple(ModelState)
"""The number of a record of a state is its place here, from 1 on: 0 is that of a new record."""


class ModelSeries:
    """The metrics of one model in this process. Safe to use from many threads."""

    def __init__(self, shared: SharedMemoryMetrics, labels: tuple[str, str]) -> None:
        self._shared = shared
        self._labels = labels
        self.in_flight = shared.gauge(_IN_FLIGHT, labels)
        self.queue_depth = shared.gauge(_QUEUE_DEPTH, labels)
        self.queue_seconds = shared.histogram(_QUEUE, labels, DURATION_BUCKETS)
        """Of those that waited; the others are counted when the metrics are shown."""
        self.batch_size = shared.histogram(_BATCH, labels, BATCH_BUCKETS)
        self.durations: dict[str, Histogram] = {}
        """Those of predictions by their outcome, as far as there are any."""

    def add_outcome(self, outcome: str) -> Histogram:
        """Return the durations of predictions with an outcome that is new."""
        labels = (*self._labels, outcome)
        durations = self._shared.histogram(_PREDICTION, labels, DURATION_BUCKETS)
        self.durations[outcome] = durations
        return durations

    def publish(self, hosted_model: HostedModel) -> None:
        """Write how the model is."""
        self.add_outcome(SUCCESS)  # so that it is there, as 0, before the first prediction
        seconds, labels = hosted_model.load_seconds, self._labels
        self._shared.gauge(_READY, labels).set(hosted_model.state is LoadState.READY)
        required = "true" if hosted_model.configuration.required else "false"
        state = _STATES.index(hosted_model.serving_state) + 1
        self._shared.gauge(_STATE, (*labels, required)).set(state)
        if hosted_model.health is not None and hosted_model.health.is_healthy is not None:
            self._shared.gauge(_HEALTHY, labels).set(hosted_model.health.is_healthy)
        load_seconds = self._shared.gauge(_LOAD_SECONDS, labels)
        load_seconds.set(math.nan if seconds is None else seconds)


class MeasuredPrediction:
    """Counts and times one request for predictions, by the way that it ends.

    Its time begins with the arrival of the request in this process.
    """

    __slots__ = ("_began", "_context", "_series")

    def __init__(self, series: ModelSeries) -> None:
        self._series = series

    def __enter__(self) -> None:
        self._series.in_flight.inc()
        self._context = context = current_request.get()
        self._began = time.monotonic() if context is None else context.received

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        series, context = self._series, self._context
        outcome = SUCCESS if kind is None else outcome_of(kind)
        durations = series.durations.get(outcome) or series.add_outcome(outcome)
        durations.observe(time.monotonic() - self._began)
        if context is not None and context.queue_seconds:
            series.queue_seconds.observe(context.queue_seconds)
        series.in_flight.inc(-1)


class ModelMeter(Instruments):
    """Measures one hosted model, under its name and version as far as they are known."""

    def __init__(self, hosted_model: HostedModel, shared: SharedMemoryMetrics) -> None:
        self._hosted_model = hosted_model
        self._shared = shared
        self._known: ModelSeries | None = None
        """Where to count for good; None as long as the model has not said what it is."""
        self._queue_depth: Gauge | None = None

    @property
    def series(self) -> ModelSeries:
        """Where to count now."""
        if self._known is not None:
            return self._known
        model = self._hosted_model
        version = model.version
        series = ModelSeries(self._shared, (model.label, version or ""))
        if version is not None:
            self._known = series
        return series

    def publish(self) -> None:
        """Write how the model is, unless it has yet to say who it is."""
        model = self._hosted_model
        if model.version is not None or model.state is LoadState.FAILED:
            self.series.publish(model)

    def prediction(self) -> MeasuredPrediction:
        """Count and time one request for predictions."""
        return MeasuredPrediction(self._known or self.series)

    def batch(self, rows: int) -> None:
        """Count one call of the model for so many rows."""
        self.series.batch_size.observe(rows)

    def queue(self, change: int) -> None:
        """Add to the number of requests that wait for the model."""
        if self._queue_depth is None:
            # For good: what began to wait under one version has to end there.
            self._queue_depth = self.series.queue_depth
        self._queue_depth.inc(change)


class ModelMetrics:
    """Measures the models of a service, and tells what its worker processes have measured."""

    def __init__(self, shared: SharedMemoryMetrics) -> None:
        self._shared = shared
        self._meters: list[ModelMeter] = []
        shared.call_on_open(self.publish)

    def meter(self, hosted_model: HostedModel) -> ModelMeter:
        """Make the instruments of one model."""
        meter = ModelMeter(hosted_model, self._shared)
        self._meters.append(meter)
        return meter

    def publish(self) -> None:
        """Write how the models are."""
        for meter in self._meters:
            meter.publish()

    def families(self, totals: Totals) -> Iterator[Metric]:
        """Yield what all worker processes have measured."""
        yield from _prediction_families(totals)
        yield _queue_family(totals)
        yield _batch_family(totals)
        yield from _gauge_families(totals)
        yield _state_family(totals)


def _prediction_families(totals: Totals) -> Iterator[Metric]:
    labels = ("model", "version", "outcome")
    total = CounterMetricFamily(
        "model_predictions", "Requests for predictions, by the way that they ended.", labels=labels
    )
    duration = HistogramMetricFamily(
        "model_prediction_duration_seconds",
        "Time from the arrival of requests for predictions until they had their result.",
        labels=labels,
    )
    for found, record in totals.of_kind(_PREDICTION).items():
        seconds = HistogramValues.read(DURATION_BUCKETS, record)
        total.add_metric(found, seconds.count)
        duration.add_metric(found, seconds.buckets(), seconds.sum)
    yield total
    yield duration


def _queue_family(totals: Totals) -> Metric:
    family = HistogramMetricFamily(
        "model_queue_seconds",
        "Time that requests for predictions waited for their turn, 0 for those that did not.",
        labels=("model", "version"),
    )
    predictions: Counter[tuple[str, ...]] = Counter()
    for (model, version, _), record in totals.of_kind(_PREDICTION).items():
        predictions[model, version] += int(HistogramValues.read(DURATION_BUCKETS, record).count)
    for labels, record in totals.of_kind(_QUEUE).items():
        waits = HistogramValues.read(DURATION_BUCKETS, record)
        first, *others = waits.counts
        # One that ends at this moment may be among the waits alone.
        first += max(0, predictions[labels] - waits.count)
        values = replace(waits, counts=[first, *others])
        family.add_metric(labels, values.buckets(), values.sum)
    return family


def _batch_family(totals: Totals) -> Metric:
    family = HistogramMetricFamily(
        "model_batch_size",
        "Rows in each call of a model with batching, or of one that was asked for many rows.",
        labels=("model", "version"),
    )
    for labels, record in totals.of_kind(_BATCH).items():
        values = HistogramValues.read(BATCH_BUCKETS, record)
        family.add_metric(labels, values.buckets(), values.sum)
    return family


def _gauge_families(totals: Totals) -> Iterator[Metric]:
    for name, documentation, kind, combine in _GAUGES:
        family = GaugeMetricFamily(name, documentation, labels=("model", "version"))
        for labels, processes in totals.live_of_kind(kind).items():
            known = [number for (number,) in processes if not math.isnan(number)]
            if known:
                family.add_metric(labels, combine(known))
        yield family


def _state_family(totals: Totals) -> Metric:
    family = GaugeMetricFamily(
        "model_state",
        "1 for the state of the model, the worst of those that it has in the worker processes.",
        labels=("model", "version", "required", "state"),
    )
    for labels, processes in totals.live_of_kind(_STATE).items():
        # ModelState has the best first.
        worst = max(number for (number,) in processes)
        for number, state in enumerate(_STATES, 1):
            family.add_metric((*labels, state), number == worst)
    return family


_GAUGES: tuple[tuple[str, str, str, Callable[[list[float]], float]], ...] = (
    ("model_in_flight", "Requests for predictions that have not ended.", _IN_FLIGHT, sum),
    ("model_queue_depth", "Requests for predictions that wait for their turn.", _QUEUE_DEPTH, sum),
    ("model_ready", "1 if the model is loaded in every worker process.", _READY, min),
    ("model_healthy", "1 if the model says in every worker that it is healthy.", _HEALTHY, min),
    ("model_load_seconds", "Seconds that the slowest loading took.", _LOAD_SECONDS, max),
)
