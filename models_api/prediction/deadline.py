"""Deadlines: a caller gets an answer in time, even from a prediction that takes longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from models_api.exceptions import DeadlineExceeded
from models_api.fork import call_after_fork

P = ParamSpec("P")
T = TypeVar("T")


class WithDeadline(Generic[P, T]):
    """Calls a predictor on a thread of its own, and waits for it no longer than the timeout.

    Nothing can stop Python code that runs: a prediction that is late goes on to its end, in the
    slot that it has, and what comes of it is forgotten.
    """

    def __init__(self, predict: Callable[P, T], timeout_seconds: float) -> None:
        self._predict = predict
        self._timeout_seconds = timeout_seconds
        self._idle: list[_Thread] = []
        # A forked child has none of the threads.
        call_after_fork(self._forget_threads)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Predict.

        Raises:
            DeadlineExceeded: it takes longer.
            Exception: whatever the predictor raises in time.
        """
        context = copy_context()
        call = _Call(partial(context.run, self._predict, *args, **kwargs))
        try:
            thread = self._idle.pop()
        except IndexError:
            thread = _Thread(self._idle)
        thread.begin(call)
        if not call.ended.acquire(timeout=min(self._timeout_seconds, threading.TIMEOUT_MAX)):
            raise DeadlineExceeded(self._timeout_seconds)
        if call.error is None:
            result: T = call.result
            return result
        try:
            raise call.error
        finally:
            # Its traceback holds this frame.
            del call

    def _forget_threads(self) -> None:
        self._idle = []


class _Call:
    """One call on its way to another thread and back."""

    __slots__ = ("ended", "error", "function", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = threading.Lock()
        """Held until there is a result or an error."""
        self.ended.acquire()


class _Thread:
    """Makes one call after the other; idle in between."""

    def __init__(self, idle: list[_Thread]) -> None:
        self._idle = idle
        self._call: _Call | None = None
        self._begun = threading.Lock()
        self._begun.acquire()
        # Whoever ends the process does not wait for a prediction that may never end.
        threading.Thread(target=self._run, name="prediction", daemon=True).start()

    def begin(self, call: _Call) -> None:
        self._call = call
        self._begun.release()

    def _run(self) -> None:
        while True:
            self._begun.acquire()
            call, self._call = self._call, None
            assert call is not None  # noqa: S101 (for the type checker)
            try:
                call.result = call.function()
            except BaseException as error:  # noqa: BLE001 (it belongs to the caller)
                call.error = error
            # Before the caller knows, so that its next call finds this thread and starts no other.
            self._idle.append(self)
            call.ended.release()
            del call
