"""Metrics that each worker process of a server keeps for itself, and any of them can read.

Each process has a file of its own, mapped into its memory, so that counting is an addition, and
what was counted outlives a process that is killed.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from models_api.file_locks import HAS_FILE_LOCKS
from models_api.logs import SafeLogger
from models_api.observability.metric_types import Counter, Gauge, Histogram, Key
from models_api.observability.worker_files import (
    ExitedWorkers,
    Records,
    WorkerFiles,
    add_records,
)

logger = SafeLogger(__name__)

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

_FIRST_BYTES = 1 << 16
_BYTES = 8  # of a C double


class Totals(NamedTuple):
    """What all processes of a server have counted."""

    sums: Records
    """Added up, those that have exited included."""
    live: list[Records]
    """Of each process that is alive; there are states in it, which cannot be added up."""
    exited: int
    """Number of processes that have exited."""

    def of_kind(self, kind: str) -> dict[tuple[str, ...], list[float]]:
        """Return the sums of all records of one kind, by their labels."""
        return {key.labels: numbers for key, numbers in self.sums.items() if key.kind == kind}

    def live_of_kind(self, kind: str) -> dict[tuple[str, ...], list[list[float]]]:
        """Return the record of each live process, likewise."""
        found: dict[tuple[str, ...], list[list[float]]] = {}
        for records in self.live:
            for key, numbers in records.items():
                if key.kind == kind:
                    found.setdefault(key.labels, []).append(numbers)
        return found


class SharedMemoryMetrics:
    """Makes the metrics of this process, and reads those of all.

    A metric of the same kind and labels is made once. Safe to use from many threads; a forked child
    begins with zeros.
    """

    def __init__(self, directory: Callable[[], Path]) -> None:
        """Make it; `directory` makes the folder for the files, once there is use for it."""
        self._directory = directory
        self._openers: list[Callable[[], None]] = []
        self._layout: list[tuple[Key, int, int]] = []
        """Of each record its key, where it begins, and how many numbers it has."""
        self._metrics: dict[Key, Counter | Gauge | Histogram] = {}
        self._end = 0
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    def counter(self, kind: str, labels: tuple[str, ...] = ()) -> Counter:
        """Return the counter of that kind with these labels."""
        return self._made(kind, labels, lambda key: Counter(self, key))

    def gauge(self, kind: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Return the gauge of that kind with these labels."""
        return self._made(kind, labels, lambda key: Gauge(self, key))

    def histogram(
        self, kind: str, labels: tuple[str, ...], limits: Sequence[float], more: int = 0
    ) -> Histogram:
        """Return the histogram of that kind with these labels, made for these limits."""
        return self._made(kind, labels, lambda key: Histogram(self, key, limits, more))

    def call_on_open(self, function: Callable[[], None]) -> None:
        """Call a function once in each process that comes to count, before it has."""
        self._openers.append(function)

    def read(self) -> Totals:
        """Read what all processes have counted, and keep what those counted that have exited."""
        with self._lock:
            self._open()
            live = [self._own_records()]
        exited = ExitedWorkers()
        if self._files is not None:
            try:
                exited = self._files.read_others(live)
            except (OSError, ValueError):
                logger.exception("Only what this process counts can be read")
        sums = {key: numbers.copy() for key, numbers in exited.records.items()}
        for records in live:
            add_records(sums, records)
        return Totals(sums, live, exited.count)

    def close(self) -> None:
        """Close the files; what was counted stays in them."""
        with self._lock:
            self._leave_to_parent()

    def add_record(self, key: Key, size: int) -> int:
        """Add a record of zeros, and return where it begins: for the metrics themselves."""
        with self._lock:
            values = self._open()
            first, end = self._end, self._end + size
            if end > len(values):
                self._map(max(2 * len(values), end) * _BYTES)
            self._layout.append((key, first, size))
            self._end = end
            if self._files is not None:
                self._files.write_keys(self._layout[-1:])
            return first

    def _made(self, kind: str, labels: tuple[str, ...], make: Callable[[Key], Metric]) -> Metric:
        key = Key(kind, labels)
        with self._lock:
            self._open()  # which may make it
            if key not in self._metrics:
                self._metrics[key] = make(key)
            return cast(Metric, self._metrics[key])

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._files: WorkerFiles | None = None
        self._memory: mmap.mmap | None = None
        self.values = cast("memoryview[float]", _Unopened(self._open))
        """Those of this process, as C doubles; they move when there are more, and after a fork."""

    def _leave_to_parent(self) -> None:
        # The lock on the file, which says that its process is alive, goes when nobody has it open.
        with suppress(BufferError):  # another thread of the parent was reading
            if self._memory is not None:
                self.values.release()
                self._memory.close()
        if self._files is not None:
            self._files.close()
        self._begin()

    def _open(self) -> memoryview[float]:
        with self._lock:
            if self._memory is None:
                self._files = self._make_files()
                self._map(max(_FIRST_BYTES, self._end * _BYTES))
                if self._files is not None:
                    self._files.write_keys(self._layout)
                for function in self._openers:
                    function()
            return self.values

    def _make_files(self) -> WorkerFiles | None:
        if not HAS_FILE_LOCKS:
            return None
        try:
            return WorkerFiles(self._directory())
        except OSError:
            logger.exception("What this process counts is its own: no file for it")
            return None

    def _map(self, size: int) -> None:
        if self._files is not None:
            try:
                self._files.make_room(size)
            except OSError:
                logger.exception("What this process counts is its own: no room for more")
                self._files = None
        is_first, before = self._memory is None, self.values
        self._memory = mmap.mmap(self._files.values.fileno() if self._files else -1, size)
        self.values = memoryview(self._memory).cast("d")
        if not is_first:
            self.values[: len(before)] = before

    def _own_records(self) -> Records:
        values = self._open()
        records: Records = {}
        for key, first, size in self._layout:
            add_records(records, {key: list(values[first : first + size])})
        return records


class _Unopened:
    """Stands for the values of a process that has yet to write one."""

    def __init__(self, open_: Callable[[], memoryview[float]]) -> None:
        self._open = open_

    def __getitem__(self, index: int) -> float:
        return self._open()[index]

    def __setitem__(self, index: int, value: float) -> None:
        self._open()[index] = value
