"""What has become of the inference requests of one model, in all worker processes of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from models_api.hosting.registry import HostedModel
from models_api.observability.shared_memory import Key, Records, SharedValues, Totals

# Kinds of records, and where the numbers are in them.
_INFERENCE, _LAST = "inference", "last_inference"
_SUCCESSES, _SUCCESS_NANOSECONDS, _FAILURES, _FAILURE_NANOSECONDS, _ROWS, _SIZE = range(6)


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

    def __init__(self, hosted_model: HostedModel, shared: SharedValues) -> None:
        self._hosted_model = hosted_model
        self._shared = shared
        self._labels: tuple[str, str] | None = None
        self._places = 0, 0

    @contextmanager
    def inference(self) -> Iterator[Inference]:
        """Count what is done in the `with` block, as a failure if it raises."""
        inference, started = Inference(), time.perf_counter_ns()
        try:
            yield inference
        except BaseException:
            self._count(_FAILURES, time.perf_counter_ns() - started, 0)
            raise
        self._count(_SUCCESSES, time.perf_counter_ns() - started, inference.rows)

    def counts(self, totals: Totals) -> Counts:
        """Find this model's among what all processes have counted."""
        labels = self._known_labels()
        numbers = totals.sums.get(Key(_INFERENCE, labels), [0.0] * _SIZE)
        successes, success_nanoseconds, failures, failure_nanoseconds, rows = map(int, numbers)
        return Counts(
            Tally(successes, success_nanoseconds),
            Tally(failures, failure_nanoseconds),
            rows,
            max((_last(records, labels) for records in totals.live), default=0),
        )

    def _count(self, outcome: int, nanoseconds: int, rows: int) -> None:
        shared = self._shared
        labels = self._known_labels()
        if labels != self._labels:
            self._places = (
                shared.place(_INFERENCE, labels, _SIZE),
                shared.place(_LAST, labels, 1),
            )
            self._labels = labels
        first, last = self._places
        with shared.lock:
            values = shared.values
            values[first + outcome] += 1
            values[first + outcome + 1] += nanoseconds
            values[first + _ROWS] += rows
            values[last] = time.time_ns() // 1_000_000

    def _known_labels(self) -> tuple[str, str]:
        model = self._hosted_model
        return model.label, model.version or ""


def _last(records: Records, labels: tuple[str, str]) -> int:
    return int(records.get(Key(_LAST, labels), [0.0])[0])
