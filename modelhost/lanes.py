"""Threads of a worker in three lanes, so that nothing quick ever waits for predictions."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from django.apps import apps

from modelhost.environment import number
from models_api.admission import refuse_on_this_thread
from models_api.exceptions import ConfigurationError

_ALWAYS_IN_HAND_PER_THREAD = 2
_NEVER_IN_HAND_PER_THREAD = 16
_PATIENCE_SECONDS = 0.25
_THREADS_FOR_REFUSALS = 2
_THREADS_FOR_OTHERS = 2


def limit_predictions(worker: Any) -> None:
    """Where the worker has no lanes, keep some of its threads free from predictions.

    Not of a worker that does one thing after the other, nor if the maximum is set.
    """
    threads = worker.cfg.threads
    has_lanes = isinstance(getattr(worker, "tpool", None), Lanes)
    if has_lanes or threads <= _THREADS_FOR_OTHERS or number("MAX_CONCURRENT_PREDICTIONS", 0):
        return
    if not apps.is_installed("models_api"):
        return
    # A configuration with problems has no registry; a project that has other pages serves those.
    with suppress(ConfigurationError):
        app_config: Any = apps.get_app_config("models_api")
        app_config.registry.admission.limit(threads - _THREADS_FOR_OTHERS)


class Lanes:
    """A pool of threads for gunicorn's threaded workers; gives each request to one of its lanes.

    Predictions, which is what is posted, wait for one of `threads`. What is too much is refused by
    the application, on threads that do nothing else. All other requests, such as those of probes,
    have threads of their own.

    Too much is a prediction above `maximum`; without a maximum, one that comes while the first in
    the queue has been waiting for a quarter of a second. Then requests come faster than they are
    answered, and a longer queue would only make all of them late.
    """

    def __init__(self, threads: int, maximum: int = 0) -> None:
        self._predictions = ThreadPoolExecutor(threads, "predictions")
        self._refusals = ThreadPoolExecutor(
            _THREADS_FOR_REFUSALS, "refusals", initializer=refuse_on_this_thread
        )
        self._others = ThreadPoolExecutor(_THREADS_FOR_OTHERS, "others")
        self._always = maximum or _ALWAYS_IN_HAND_PER_THREAD * threads
        """So many may be in hand, however long they wait."""
        self._never = maximum or _NEVER_IN_HAND_PER_THREAD * threads
        """So many may not be in hand, however short they wait."""
        self._lock = threading.Lock()
        self._in_hand = 0
        self._queue: deque[float] = deque()
        """When those came that wait for a thread."""

    def submit(self, handle: Callable[[Any], Any], connection: Any) -> Future[Any]:
        """Let a thread handle the request that the connection has received."""
        if not _is_posted(connection.sock):
            return self._others.submit(handle, connection)
        now = time.monotonic()
        with self._lock:
            is_refused = self._is_too_much(now)
            if not is_refused:
                self._in_hand += 1
                self._queue.append(now)
        if is_refused:
            return self._refusals.submit(handle, connection)
        return self._predictions.submit(self._predict, handle, connection)

    def shutdown(self, wait: bool = True) -> None:
        """Take no more requests."""
        for lane in (self._predictions, self._refusals, self._others):
            lane.shutdown(wait=wait)

    def _is_too_much(self, now: float) -> bool:
        if self._in_hand < self._always:
            return False
        if self._in_hand >= self._never:
            return True
        return bool(self._queue) and now - self._queue[0] > _PATIENCE_SECONDS

    def _predict(self, handle: Callable[[Any], Any], connection: Any) -> Any:
        with self._lock:
            self._queue.popleft()
        try:
            return handle(connection)
        finally:
            with self._lock:
                self._in_hand -= 1


def _is_posted(connection: socket.socket) -> bool:
    return connection.recv(4, socket.MSG_PEEK) == b"POST"
