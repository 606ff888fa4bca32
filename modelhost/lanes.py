"""Threads of a worker in three lanes, so that nothing quick ever waits for predictions."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps

from modelhost.adaptive_pool import AdaptivePool
from modelhost.backlog import Backlog
from modelhost.environment import number
from models_api.exceptions import ConfigurationError
from models_api.prediction.admission import refuse_on_this_thread

if TYPE_CHECKING:
    from models_api.hosting.registry import ModelRegistry

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
    registry = _registry()
    if registry is not None:
        registry.admission.limit(threads - _THREADS_FOR_OTHERS)


class Lanes:
    """A pool of threads for gunicorn's threaded workers; gives each request to one of its lanes.

    Predictions, which is what is posted, wait for one of `threads`. What is too much is refused by
    the application, on threads that do nothing else: above `maximum`, or without one when it makes
    the others late (see modelhost.backlog). All other requests, such as those of probes, have
    threads of their own.
    """

    def __init__(
        self, threads: int, maximum: int = 0, clients: Callable[[], int] = lambda: sys.maxsize
    ) -> None:
        """Make it; `clients` tells how many there are, as an overload ends when they are few."""
        self.predictions = AdaptivePool(threads)
        self._refusals = ThreadPoolExecutor(
            _THREADS_FOR_REFUSALS, "refusals", initializer=refuse_on_this_thread
        )
        self._others = ThreadPoolExecutor(_THREADS_FOR_OTHERS, "others")
        self._backlog = Backlog(threads, maximum, running=self._running, clients=clients)

    def submit(self, handle: Callable[[Any], None], connection: Any) -> None:
        """Let a thread handle the request that the connection has received.

        A prediction begins once `predictions` are woken.
        """
        if not _is_posted(connection.sock):
            self._others.submit(handle, connection)
        elif not self._backlog.take(time.monotonic()):
            self._refusals.submit(handle, connection)
        else:
            self.predictions.submit(partial(self._predict, handle), connection)

    def shutdown(self, wait: bool = True) -> None:
        """Take no more requests."""
        for lane in (self._refusals, self._others):
            lane.shutdown(wait=wait)

    def _running(self) -> int:
        registry = _registry()
        waiting = registry.turns.waiting if registry is not None else 0
        return self.predictions.at_work - waiting

    def _predict(self, handle: Callable[[Any], None], connection: Any) -> None:
        try:
            handle(connection)
        finally:
            self._backlog.end(time.monotonic())


def _is_posted(connection: socket.socket) -> bool:
    return connection.recv(4, socket.MSG_PEEK) == b"POST"


def _registry() -> ModelRegistry | None:
    if not (apps.ready and apps.is_installed("models_api")):
        return None
    app_config: Any = apps.get_app_config("models_api")
    # A configuration with problems has no registry; a project that has other pages serves those.
    with suppress(ConfigurationError):
        registry: ModelRegistry = app_config.registry
        return registry
    return None
