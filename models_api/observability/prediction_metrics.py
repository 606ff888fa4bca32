"""What is measured of the models: their predictions, their batches, and how they are."""

from __future__ import annotations

import math
import time
import weakref
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
from models_api.observability.metric_types import Counter as SharedCounter
from models_api.observability.metric_types import Gauge, Histogram, HistogramValues
from models_api.observability.reload_metrics import of_followers
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
_REACHABLE = "reachable"
_SHARE, _TRAFFIC = "share", "traffic"
_SHADOW, _SHADOWED = "shadow prediction", "shadowed"
_SHADOW_RESULTS = ("agrees", "differs", "failed", "dropped")
_STATES = tuple(ModelState)
"""The number of a record of a state is its place here, from 1 on: 0 is that of a new record."""


class ModelSeries:
    """The metrics of one model in this process. Safe to use from many threads."""

    def __init__(
        self, shared: SharedMemoryMetrics, labels: tuple[str, str], *, is_shadow: bool = False
    ) -> None:
        self._shared = shared
        self._kind = _SHADOW if is_shadow else _PREDICTION
        self._labels = labels
        self.in_flight = shared.gauge(_IN_FLIGHT, labels)
        self.queue_depth = shared.gauge(_QUEUE_DEPTH, labels)
        self.queue_seconds = shared.histogram(_QUEUE, labels, DURATION_BUCKETS)
        """Of those that waited; the others are counted when the metrics are shown."""
        self.batch_size = shared.histogram(_BATCH, labels, BATCH_BUCKETS)
        self.durations: dict[str, Histogram] = {}
        """Those of predictions by their outcome, as far as there are any."""
        self._copies: dict[str, SharedCounter] = {}
        """Those of requests that a shadow got, by what came of them; none for others."""

    def add_outcome(self, outcome: str) -> Histogram:
        """Return the durations of predictions with an outcome that is new."""
        labels = (*self._labels, outcome)
        durations = self._shared.histogram(self._kind, labels, DURATION_BUCKETS)
        self.durations[outcome] = durations
        return durations

    def publish(self, hosted_model: HostedModel) -> None:
        """Write how the model is."""
        # So that they are there, as 0, before the first prediction.
        self.add_outcome(SUCCESS)
        for result in _SHADOW_RESULTS if self._kind == _SHADOW else ():
            self._copies[result] = self._shared.counter(_SHADOWED, (*self._labels, result))
        seconds, labels = hosted_model.load_seconds, self._labels
        self._shared.gauge(_READY, labels).set(hosted_model.state is LoadState.READY)
        required = _text(is_true=hosted_model.configuration.required)
        state = _STATES.index(hosted_model.serving_state) + 1
        self._shared.gauge(_STATE, (*labels, required)).set(state)
        if hosted_model.health is not None and hosted_model.health.is_healthy is not None:
            self._shared.gauge(_HEALTHY, labels).set(hosted_model.health.is_healthy)
        load_seconds = self._shared.gauge(_LOAD_SECONDS, labels)
        load_seconds.set(math.nan if seconds is None else seconds)
        if hosted_model.is_left_alone is not None:
            self._shared.gauge(_REACHABLE, labels).set(not hosted_model.is_left_alone)

    def traffic(self, configured: float, now: float) -> None:
        """Write which part of the requests for its name the model gets."""
        self._shared.gauge(_SHARE, self._labels).set(configured)
        self._shared.gauge(_TRAFFIC, self._labels).set(now)

    def shadowed(self, result: str) -> None:
        """Count what came of a copy of a request."""
        copies = self._copies.get(result)
        # Before the model is loaded there is none.
        (copies or self._shared.counter(_SHADOWED, (*self._labels, result))).inc()

    def withdraw(self, *, required: bool) -> None:
        """Take back what was written of how the model is."""
        for kind in (_READY, _HEALTHY, _LOAD_SECONDS, _REACHABLE, _SHARE, _TRAFFIC):
            self._shared.gauge(kind, self._labels).set(math.nan)
        self._shared.gauge(_STATE, (*self._labels, _text(is_true=required))).set(math.nan)


def _text(*, is_true: bool) -> str:
    return "true" if is_true else "false"


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
        # The model has its meter: in a circle they would outlive its last request.
        self._hosted_model = weakref.ref(hosted_model)
        self._required = hosted_model.configuration.required
        self._shared = shared
        self._known: ModelSeries | None = None
        """Where to count for good; None as long as the model has not said what it is."""
        self._unversioned: ModelSeries | None = None
        """Where it was written how the model is, before it had said its version."""
        self._queue_depth: Gauge | None = None
        self._traffic: tuple[float, float] | None = None
        """Which part of the requests for its name it gets: configured, and now."""

    @property
    def series(self) -> ModelSeries:
        """Where to count now."""
        if self._known is not None:
            return self._known
        model = self._hosted_model()
        if model is None:
            return self._unversioned or ModelSeries(self._shared, ("", ""))
        version = model.version
        is_shadow = model.configuration.shadow
        series = ModelSeries(self._shared, (model.label, version or ""), is_shadow=is_shadow)
        if version is not None:
            self._known = series
        return series

    def publish(self) -> None:
        """Write how the model is, unless it has yet to say who it is."""
        model = self._hosted_model()
        if model is None or not model.is_hosted:
            return
        if model.version is None and model.state is not LoadState.FAILED and not model.is_waiting:
            return
        if self._known is None and self._unversioned is not None and model.version is not None:
            self._unversioned.withdraw(required=self._required)
        series = self.series
        if model.version is None:
            self._unversioned = series
        series.publish(model)
        if self._traffic is not None:
            series.traffic(*self._traffic)

    def traffic(self, configured: float, now: float) -> None:
        """Write which part of the requests for its name the model gets."""
        self._traffic = (configured, now)
        model = self._hosted_model()
        if model is not None and model.version is not None:
            self.series.traffic(configured, now)

    def withdraw(self) -> None:
        """Take back what was written of how the model is; what it has done stays counted."""
        series = self._known or self._unversioned
        if series is not None:
            series.withdraw(required=self._required)

    def prediction(self) -> MeasuredPrediction:
        """Count and time one request for predictions."""
        return MeasuredPrediction(self._known or self.series)

    def batch(self, rows: int) -> None:
        """Count one call of the model for so many rows."""
        self.series.batch_size.observe(rows)

    def shadowed(self, result: str) -> None:
        """Count what came of a copy of a request."""
        self.series.shadowed(result)

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
        self._meters: weakref.WeakKeyDictionary[ModelMeter, None] = weakref.WeakKeyDictionary()
        """In the order of the models; the values mean nothing."""
        shared.call_on_open(self.publish)

    def meter(self, hosted_model: HostedModel) -> ModelMeter:
        """Make the instruments of one model."""
        meter = ModelMeter(hosted_model, self._shared)
        self._meters[meter] = None
        return meter

    def publish(self) -> None:
        """Write how the models are."""
        for meter in list(self._meters):
            meter.publish()

    def families(self, totals: Totals) -> Iterator[Metric]:
        """Yield what all worker processes have measured."""
        yield from _prediction_families(totals)
        yield from _shadow_families(totals)
        yield _queue_family(totals)
        yield _batch_family(totals)
        hosting = of_followers(totals)
        yield from _gauge_families(hosting)
        yield _state_family(hosting)


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


def _shadow_families(totals: Totals) -> Iterator[Metric]:
    copies = CounterMetricFamily(
        "model_shadow_copies",
        "Copies of requests that a shadow got, by what came of them.",
        labels=("model", "version", "result"),
    )
    for labels, (number,) in totals.of_kind(_SHADOWED).items():
        copies.add_metric(labels, number)
    duration = HistogramMetricFamily(
        "model_shadow_duration_seconds",
        "Time that a shadow took for the copies that it got.",
        labels=("model", "version", "outcome"),
    )
    for labels, record in totals.of_kind(_SHADOW).items():
        seconds = HistogramValues.read(DURATION_BUCKETS, record)
        duration.add_metric(labels, seconds.buckets(), seconds.sum)
    yield copies
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
        known = [number for (number,) in processes if not math.isnan(number)]
        if not known:
            continue
        worst = max(known)
        for number, state in enumerate(_STATES, 1):
            family.add_metric((*labels, state), number == worst)
    return family


_GAUGES: tuple[tuple[str, str, str, Callable[[list[float]], float]], ...] = (
    ("model_in_flight", "Requests for predictions that have not ended.", _IN_FLIGHT, sum),
    ("model_queue_depth", "Requests for predictions that wait for their turn.", _QUEUE_DEPTH, sum),
    ("model_ready", "1 if the model is loaded in every worker process.", _READY, min),
    ("model_healthy", "1 if the model says in every worker that it is healthy.", _HEALTHY, min),
    (
        "model_reachable",
        "1 if every worker asks the other service of the model, 0 if one leaves it alone.",
        *(_REACHABLE, min),
    ),
    (
        "model_traffic_share_percent",
        "Percent of the requests for its name that the version gets by the configuration.",
        *(_SHARE, max),
    ),
    (
        "model_traffic_percent",
        "Percent that it gets now in the worker that gives it the least, 0 if it was taken back.",
        *(_TRAFFIC, min),
    ),
    ("model_load_seconds", "Seconds that the slowest loading took.", _LOAD_SECONDS, max),
)
