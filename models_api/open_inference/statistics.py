"""What has become of the inference requests of one model, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace


@dataclass(slots=True)
class Inference:
    """One request."""

    rows: int = 0


@dataclass(slots=True)
class Tally:
    """How many requests, and how long they took together."""

    count: int = 0
    nanoseconds: int = 0


@dataclass(slots=True)
class Counts:
    """All that is counted."""

    success: Tally = field(default_factory=Tally)
    failure: Tally = field(default_factory=Tally)
    rows: int = 0
    """Rows of the requests that succeeded."""
    last_inference_milliseconds: int = 0
    """Since 1970; 0 if there was none."""


class Statistics:
    """Counts requests. Safe to use from many threads."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    @contextmanager
    def inference(self) -> Iterator[Inference]:
        """Count what is done in the `with` block, as a failure if it raises."""
        inference, started, tally = Inference(), time.perf_counter_ns(), self._counts.failure
        try:
            yield inference
            tally = self._counts.success
        finally:
            with self._lock:
                tally.count += 1
                tally.nanoseconds += time.perf_counter_ns() - started
                self._counts.last_inference_milliseconds = time.time_ns() // 1_000_000
                if tally is self._counts.success:
                    self._counts.rows += inference.rows

    def counts(self) -> Counts:
        """Copy what was counted so far."""
        with self._lock:
            counts = self._counts
            return replace(counts, success=replace(counts.success), failure=replace(counts.failure))
