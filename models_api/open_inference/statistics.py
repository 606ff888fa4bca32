"""What has become of inference requests, model by model, in all workers of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from models_api.hosting.hosted_model import HostedModel
from models_api.observability.metric_types import HistogramValues
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

# Kinds of records. The first two have a count, nanoseconds and rows.
_SUCCESS, _FAILURE, _LAST = "inference success", "inference failure", "last inference"


@dataclass(slots=True)
class Inference:
    """One request."""

    rows: int = 0


class Tally(NamedTuple):
    """How many requests, and how long they took together."""

    requests: int
    nanoseconds: int


class Counts(NamedTuple):
    """All that is counted."""

    success: Tally
    failure: Tally
    rows: int
    """Rows of the requests that succeeded."""
    last_inference_milliseconds: int
    """Since 1970; 0 if no process that is alive made one."""


class InferenceStatistics:
    """Counts the requests of hosted models. Safe to use from many threads."""

    def __init__(self, shared: SharedMemoryMetrics) -> None:
        self._shared = shared

    @contextmanager
    def inference(self, model: HostedModel) -> Iterator[Inference]:
        """Count what is done in the `with` block, as a failure if it raises."""
        inference, started = Inference(), time.perf_counter_ns()
        try:
            yield inference
        except BaseException:
            self._count(model, _FAILURE, time.perf_counter_ns() - started, 0)
            raise
        self._count(model, _SUCCESS, time.perf_counter_ns() - started, inference.rows)

    def read(self) -> Totals:
        """Return what all processes have counted."""
        return self._shared.read()

    def counts(self, model: HostedModel, totals: Totals) -> Counts:
        """Return a model's among what all processes have counted."""
        labels = _labels(model)
        success = _values(totals, _SUCCESS, labels)
        failure = _values(totals, _FAILURE, labels)
        last = totals.live_of_kind(_LAST).get(labels, [])
        return Counts(
            Tally(int(success.count), int(success.sum)),
            Tally(int(failure.count), int(failure.sum)),
            int(success.more[0]),
            max((int(milliseconds) for (milliseconds,) in last), default=0),
        )

    def _count(self, model: HostedModel, outcome: str, nanoseconds: int, rows: int) -> None:
        shared, labels = self._shared, _labels(model)
        shared.histogram(outcome, labels, (), more=1).observe(nanoseconds, rows)
        shared.gauge(_LAST, labels).set(time.time_ns() // 1_000_000)


def _labels(model: HostedModel) -> tuple[str, str]:
    return model.label, model.version or ""


def _values(totals: Totals, kind: str, labels: tuple[str, str]) -> HistogramValues:
    return HistogramValues.read((), totals.of_kind(kind).get(labels, [0.0] * 3))
