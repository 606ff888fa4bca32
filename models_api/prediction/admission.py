"""Admission: how many predictions a process has in hand, and no more than it can bear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Generic, ParamSpec, TypeVar

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.fork import call_after_fork
from models_api.prediction.request_context import RequestContext, current_request

P = ParamSpec("P")
T = TypeVar("T")

_BUSY = "The service is busy with other predictions already."
_refuses: ContextVar[bool] = ContextVar("refuses", default=False)


def refuse_on_this_thread() -> None:
    """Refuse whatever this thread, or its context, asks for from now on.

    For servers that hold too many requests already, and have a thread to say so.
    """
    _refuses.set(True)


class Slot:
    """A place for one prediction after the other; says which one is there."""

    __slots__ = ("began", "free", "model", "request", "thread", "timeout_seconds")

    def __init__(self, free: list[Slot]) -> None:
        self.free = free
        """Where the slot waits for its next prediction."""
        self.began: float | None = None
        """On the monotonic clock; None while no prediction is there."""
        self.thread = 0
        """Identifier of the thread that predicts."""
        self.model = ""
        """Qualified name."""
        self.request: RequestContext | None = None
        self.timeout_seconds: float | None = None
        """After which nobody waits for the prediction any more; None if somebody always does."""


class Admission:
    """Counts the predictions of this process, and refuses those above a maximum.

    Safe to use from many threads. A forked child begins with none.
    """

    def __init__(self, maximum: int | None = None) -> None:
        self._begin(maximum)
        self._start_watching: Callable[[], None] | None = None
        self.unwatched: list[Callable[[], None]] = []
        """What is to be called at the first prediction of this process; empty afterwards."""
        # The threads that were predicting are not in a forked child.
        call_after_fork(self._begin_in_child)

    @property
    def maximum(self) -> int | None:
        """Predictions that may be in hand at a time; None for any number."""
        return self._maximum

    def limit(self, maximum: int | None) -> None:
        """Change the maximum; predictions in hand at this moment count no more."""
        self._begin(maximum)

    def watch(self, start: Callable[[], None]) -> None:
        """Call `start` at the first prediction of this process, and of each forked child."""
        self._start_watching = start
        self.unwatched = [start]

    def begin_watching(self) -> None:
        """Call what is to be called at the first prediction."""
        try:
            start = self.unwatched.pop()
        except IndexError:  # another thread was faster
            return
        start()

    def enter(self) -> Slot:
        """Take a slot.

        Raises:
            Overloaded: there is none left.
        """
        if _refuses.get():
            raise Overloaded(_BUSY)
        try:
            # Atomic, and so exact without a lock.
            return self._free.pop()
        except IndexError:
            return self._another_slot()

    def running(self) -> list[Slot]:
        """The slots that have a prediction; it may end at any moment."""
        return [slot for slot in list(self._slots) if slot.began is not None]

    def _begin(self, maximum: int | None) -> None:
        self._maximum = maximum
        self.is_hung = False
        """Whether a prediction is taken for one that never ends; the watchdog says so."""
        self._free: list[Slot] = []
        self._slots = [Slot(self._free) for _ in range(maximum or 0)]
        self._free.extend(self._slots)

    def _begin_in_child(self) -> None:
        self._begin(self._maximum)
        self.unwatched = [self._start_watching] if self._start_watching is not None else []

    def _another_slot(self) -> Slot:
        if self._maximum is not None:
            raise Overloaded(_BUSY)
        slot = Slot(self._free)
        self._slots.append(slot)
        return slot


class Admitted(Generic[P, T]):
    """Calls a predictor if there is a slot left for it."""

    def __init__(
        self,
        predict: Callable[P, T],
        admission: Admission,
        model: str,
        timeout_seconds: float | None = None,
        *,
        turns: AbstractContextManager[None] | None = None,
    ) -> None:
        """Make it; `turns` says, by letting it wait, when a prediction may begin to compute."""
        self._predict = predict
        self._turns = turns
        self._admission = admission
        self._model = model
        self._timeout_seconds = timeout_seconds

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Predict.

        Raises:
            Overloaded: the process has as many predictions in hand as it may have.
            DeadlineExceeded: it had to wait for its turn for too long.
            Exception: whatever the predictor raises.
        """
        if self._admission.unwatched:
            self._admission.begin_watching()
        slot = self._admission.enter()
        slot.request = current_request.get()
        slot.model, slot.timeout_seconds = self._model, self._timeout_seconds
        slot.thread = threading.get_ident()
        slot.began = time.monotonic()
        try:
            if self._turns is None:
                return self._predict(*args, **kwargs)
            with self._turns:
                self._check_deadline(slot)
                return self._predict(*args, **kwargs)
        finally:
            slot.began = slot.request = None
            slot.free.append(slot)

    def _check_deadline(self, slot: Slot) -> None:
        """Spare a prediction that nobody waits for any more."""
        timeout_seconds = self._timeout_seconds
        if timeout_seconds is None or slot.began is None:
            return
        if time.monotonic() - slot.began > timeout_seconds:
            raise DeadlineExceeded(timeout_seconds)
