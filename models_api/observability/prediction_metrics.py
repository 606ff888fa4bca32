"""What is measured of the models: their predictions, their batches, and how they are."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from models_api.exceptions import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotReady,
    Overloaded,
    SchemaRejected,
    TensorError,
)
from models_api.hosting.hosted_model import HostedModel, LoadState, ModelRegistry
from models_api.observability.histogram import cumulative
from models_api.observability.shared_memory import Places, Records, SharedValues, Totals

SUCCESS, FAILURE = "success", "failure"
OUTCOMES: dict[type[BaseException], str] = {
    InvalidInput: "invalid_input",
    TensorError: "invalid_input",
    SchemaRejected: "invalid_input",
    ModelNotReady: "not_ready",
    Overloaded: "overloaded",
    DeadlineExceeded: "deadline_exceeded",
}
"""What predictions end with besides success; every other error is a failure."""

DURATION_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""In seconds."""
_QUICK = DURATION_BUCKETS[0]  # up to which no search for the bucket is needed
BATCH_BUCKETS = tuple(2.0**power for power in range(11))

# Kinds of records, and where the numbers are in them.
_PREDICTION, _IN_FLIGHT, _BATCH, _STATE = "prediction", "in flight", "batch", "state"
_SECONDS = len(DURATION_BUCKETS) + 1
_ROWS = len(BATCH_BUCKETS) + 1
_QUEUE_DEPTH, _READY, _LOAD_SECONDS = range(3)


class ModelSeries:
    """The records of one model in this process. Safe to use from many threads."""

    def __init__(self, shared: SharedValues, labels: tuple[str, str]) -> None:
        self._shared = shared
        self._labels = labels
        self._state = shared.place(_STATE, labels, 3)
        self._batch: int | None = None
        self.in_flight = shared.places(_IN_FLIGHT, labels, 1)
        """Where it says 1 while a prediction has not ended."""
        self.outcomes: dict[str, Places] = {}
        """Where the records of predictions begin, as far as there are any."""

    def publish(self, hosted_model: HostedModel) -> None:
        """Write how the model is."""
        self.outcome(SUCCESS)  # so that it is there, as 0, before the first prediction
        seconds, state = hosted_model.load_seconds, self._state
        with self._shared.lock:
            values = self._shared.values
            values[state + _READY] = hosted_model.state is LoadState.READY
            values[state + _LOAD_SECONDS] = math.nan if seconds is None else seconds

    def observe_batch(self, rows: int) -> None:
        """Count a call of the model for so many rows."""
        if self._batch is None:
            self._batch = self._shared.place(_BATCH, self._labels, _ROWS + 1)
        with self._shared.lock:
            values = self._shared.values
            values[self._batch + bisect_left(BATCH_BUCKETS, rows)] += 1
            values[self._batch + _ROWS] += rows

    def observe_queue(self, depth: int) -> None:
        """Note how many rows wait for the model."""
        with self._shared.lock:
            self._shared.values[self._state + _QUEUE_DEPTH] = depth

    def outcome(self, outcome: str) -> Places:
        """Return where the records of predictions with this outcome begin, made if it is new."""
        places = self._shared.places(_PREDICTION, (*self._labels, outcome), _SECONDS + 1)
        self.outcomes[outcome] = places
        return places


class ModelMeter:
    """Measures one hosted model, under its name and version as far as they are known."""

    def __init__(self, hosted_model: HostedModel, shared: SharedValues) -> None:
        self._hosted_model = hosted_model
        self._shared = shared
        self.known: ModelSeries | None = None
        """Where to count for good; None as long as the model has not said what it is."""

    @property
    def series(self) -> ModelSeries:
        """Where to count now."""
        if self.known is not None:
            return self.known
        model = self._hosted_model
        version = model.version
        series = ModelSeries(self._shared, (model.label, version or ""))
        if version is not None:
            self.known = series
        return series

    def publish(self) -> None:
        """Write how the model is, unless it has yet to say who it is."""
        model = self._hosted_model
        if model.version is not None or model.state is LoadState.FAILED:
            self.series.publish(model)

    def measured(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        """Count and time what a predictor predicts, by the way that it ends.

        To be outermost around the predictor, so that it sees those that are refused.
        """
        meter, shared = self, self._shared

        # In one piece, because each prediction pays for it.
        def measured(*arguments: Any) -> Any:
            series = meter.known or meter.series
            place = series.in_flight.take()
            shared.values[place] = 1
            outcome, begun = FAILURE, perf_counter()
            try:
                prediction = predict(*arguments)
                outcome = SUCCESS
            except BaseException as error:
                outcome = OUTCOMES.get(type(error), FAILURE)
                raise
            finally:
                seconds = perf_counter() - begun
                bucket = 0 if seconds <= _QUICK else bisect_left(DURATION_BUCKETS, seconds)
                places = series.outcomes.get(outcome) or series.outcome(outcome)
                first, values = places.take(), shared.values
                values[first + bucket] += 1
                values[first + _SECONDS] += seconds
                places.give_back(first)
                values[place] = 0
                series.in_flight.give_back(place)
            return prediction

        return measured

    def observe_batch(self, rows: int) -> None:
        """Count a call of the model for so many rows."""
        self.series.observe_batch(rows)

    def observe_queue(self, depth: int) -> None:
        """Note how many rows wait for the model."""
        self.series.observe_queue(depth)


class ModelMetrics:
    """Measures the models of a service, and tells what its worker processes have measured."""

    def __init__(self, shared: SharedValues) -> None:
        self._shared = shared
        self._meters: list[ModelMeter] = []

    def watch(self, registry: ModelRegistry) -> None:
        """Hear of what becomes of the models, and of each call for several rows."""
        for model in registry:
            model.observer = meter = ModelMeter(model, self._shared)
            self._meters.append(meter)

    def publish(self) -> None:
        """Write how the models are."""
        for meter in self._meters:
            meter.publish()

    def families(self, totals: Totals) -> Iterator[Metric]:
        """Yield what all worker processes have measured."""
        yield from _prediction_families(totals.sums)
        yield _batch_family(totals.sums)
        yield from _state_families(totals.live)


def _prediction_families(sums: Records) -> Iterator[Metric]:
    labels = ("model", "version", "outcome")
    total = CounterMetricFamily(
        "model_predictions", "Requests for predictions, by the way that they ended.", labels=labels
    )
    duration = HistogramMetricFamily(
        "model_prediction_duration_seconds",
        "Time that requests for predictions took, without reading and writing the HTTP.",
        labels=labels,
    )
    for key, numbers in sums.items():
        if key.kind == _PREDICTION:
            total.add_metric(key.labels, sum(numbers[:_SECONDS]))
            buckets = cumulative(DURATION_BUCKETS, numbers)
            duration.add_metric(key.labels, buckets, numbers[_SECONDS])
    yield total
    yield duration


def _batch_family(sums: Records) -> Metric:
    family = HistogramMetricFamily(
        "model_batch_size",
        "Rows in each call of a model with batching, or of one that was asked for many rows.",
        labels=("model", "version"),
    )
    for key, numbers in sums.items():
        if key.kind == _BATCH:
            family.add_metric(key.labels, cumulative(BATCH_BUCKETS, numbers), numbers[_ROWS])
    return family


def _state_families(live: list[Records]) -> Iterator[Metric]:
    states: dict[str, dict[tuple[str, ...], list[list[float]]]] = {_IN_FLIGHT: {}, _STATE: {}}
    for records in live:
        for key, numbers in records.items():
            if key.kind in states:
                states[key.kind].setdefault(key.labels, []).append(numbers)
    for name, documentation, (kind, place), combine in _GAUGES:
        family = GaugeMetricFamily(name, documentation, labels=("model", "version"))
        for labels, processes in states[kind].items():
            known = [one[place] for one in processes if not math.isnan(one[place])]
            if known:
                family.add_metric(labels, combine(known))
        yield family


_GAUGES: tuple[tuple[str, str, tuple[str, int], Callable[[list[float]], float]], ...] = (
    ("model_in_flight", "Requests for predictions that have not ended.", (_IN_FLIGHT, 0), sum),
    ("model_queue_depth", "Rows that wait for a batch.", (_STATE, _QUEUE_DEPTH), sum),
    ("model_ready", "1 if the model is loaded in every worker process.", (_STATE, _READY), min),
    ("model_load_seconds", "Seconds that the slowest loading took.", (_STATE, _LOAD_SECONDS), max),
)
