"""What has become of the inference requests of one model, in all worker processes of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from models_api.hosting.registry import HostedModel
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


class Statistics:
    """Counts the requests of one hosted model. Safe to use from many threads."""

    def __init__(self, hosted_model: HostedModel, shared: SharedMemoryMetrics) -> None:
        self._hosted_model = hosted_model
        self._shared = shared

    @contextmanager
    def inference(self) -> Iterator[Inference]:
        """Count what is done in the `with` block, as a failure if it raises."""
        inference, started = Inference(), time.perf_counter_ns()
        try:
            yield inference
        except BaseException:
            self._count(_FAILURE, time.perf_counter_ns() - started, 0)
            raise
        self._count(_SUCCESS, time.perf_counter_ns() - started, inference.rows)

    def counts(self, totals: Totals) -> Counts:
        """Find this model's among what all processes have counted."""
        labels = self._known_labels()
        success = _values(totals, _SUCCESS, labels)
        failure = _values(totals, _FAILURE, labels)
        last = totals.live_of_kind(_LAST).get(labels, [])
        return Counts(
            Tally(int(success.count), int(success.sum)),
            Tally(int(failure.count), int(failure.sum)),
            int(success.more[0]),
            max((int(milliseconds) for (milliseconds,) in last), default=0),
        )

    def _count(self, outcome: str, nanoseconds: int, rows: int) -> None:
        shared, labels = self._shared, self._known_labels()
        shared.histogram(outcome, labels, (), more=1).observe(nanoseconds, rows)
        shared.gauge(_LAST, labels).set(time.time_ns() // 1_000_000)

    def _known_labels(self) -> tuple[str, str]:
        model = self._hosted_model
        return model.label, model.version or ""


def _values(totals: Totals, kind: str, labels: tuple[str, str]) -> HistogramValues:
    return HistogramValues.read((), totals.of_kind(kind).get(labels, [0.0] * 3))
