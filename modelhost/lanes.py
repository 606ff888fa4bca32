"""Threads of a worker in three lanes, so that nothing quick ever waits for predictions."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.apps import apps

from modelhost.environment import number
from models_api.admission import refuse_on_this_thread
from models_api.exceptions import ConfigurationError

_IN_HAND_PER_THREAD = 4
_THREADS_FOR_REFUSALS = 2
_THREADS_FOR_OTHERS = 2


def maximum_in_hand(threads: int) -> int:
    """How many predictions a worker may have in hand, those that wait for a thread included."""
    return number("MAX_CONCURRENT_PREDICTIONS", 0) or _IN_HAND_PER_THREAD * threads


def limit_predictions(worker: Any) -> None:
    """Let the app refuse what the worker's threads could not bear; nobody asks for one thread."""
    if not apps.is_installed("models_api") or number("MAX_CONCURRENT_PREDICTIONS", 0):
        return
    try:
        admission = apps.get_app_config("models_api").registry.admission  # type: ignore[attr-defined]
    except ConfigurationError:  # in a project that has other pages
        return
    threads = worker.cfg.threads
    if isinstance(getattr(worker, "tpool", None), Lanes):
        admission.limit(maximum_in_hand(threads))
    elif threads > _THREADS_FOR_OTHERS:
        admission.limit(threads - _THREADS_FOR_OTHERS)


class Lanes:
    """A pool of threads for gunicorn's threaded workers; gives each request to one of its lanes.

    Predictions, which is what is posted, wait for one of `threads`; no more than `maximum` of them
    are in hand, those that wait included. What is above is refused by the application, on threads
    that do nothing else. All other requests, such as those of probes, have threads of their own.
    """

    def __init__(self, threads: int, maximum: int) -> None:
        self._predictions = ThreadPoolExecutor(threads, "predictions")
        self._refusals = ThreadPoolExecutor(
            _THREADS_FOR_REFUSALS, "refusals", initializer=refuse_on_this_thread
        )
        self._others = ThreadPoolExecutor(_THREADS_FOR_OTHERS, "others")
        self._places = [None] * maximum

    def submit(self, handle: Callable[[Any], Any], connection: Any) -> Future[Any]:
        """Let a thread handle the request that the connection has received."""
        if not _is_posted(connection.sock):
            return self._others.submit(handle, connection)
        try:
            self._places.pop()
        except IndexError:
            return self._refusals.submit(handle, connection)
        return self._predictions.submit(self._predict, handle, connection)

    def shutdown(self, wait: bool = True) -> None:
        """Take no more requests."""
        for lane in (self._predictions, self._refusals, self._others):
            lane.shutdown(wait=wait)

    def _predict(self, handle: Callable[[Any], Any], connection: Any) -> Any:
        try:
            return handle(connection)
        finally:
            self._places.append(None)


def _is_posted(connection: socket.socket) -> bool:
    return connection.recv(4, socket.MSG_PEEK) == b"POST"
