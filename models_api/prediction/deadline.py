"""Deadlines: a caller gets an answer in time, even from a prediction that takes longer."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from models_api.exceptions import DeadlineExceeded, Overloaded
from models_api.fork import call_after_fork
from models_api.prediction.limiter import Slot
from models_api.threads import cleanup

P = ParamSpec("P")
T = TypeVar("T")


class DeadlineThreads:
    """Calls what predicts on threads of its own, and waits for it no longer than it may take.

    Nothing can stop Python code that runs: a prediction that is late goes on to its end, in the
    slot that it has, and what comes of it is forgotten. So there are never more threads than slots.
    They do not keep a process from ending, as those of a ThreadPoolExecutor would.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._idle: list[_Thread] = []
        # Nobody calls any more then, and each thread is idle.
        weakref.finalize(self, _end, self._idle).atexit = False  # type: ignore[misc]
        # A forked child has none of the threads.
        call_after_fork(self._forget_threads)

    def call(
        self,
        seconds_left: float,
        slot: Slot,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return what the work returns; it runs in the slot, and in the context of the caller.

        Raises:
            DeadlineExceeded: it takes longer than the seconds that are left, if there are any.
            Overloaded: the system has no thread left.
            BaseException: whatever the work raises in time.
        """
        results: list[T] = []
        context = copy_context()

        def predict() -> None:
            results.append(context.run(work, *args, **kwargs))

        job = _Job(slot, predict)
        self._begin(job, seconds_left)
        if not job.ended.acquire(timeout=min(seconds_left, threading.TIMEOUT_MAX)):
            raise DeadlineExceeded(self.timeout_seconds)
        if job.error is None:
            return results[0]
        try:
            raise job.error
        finally:
            # Its traceback holds this frame.
            del job

    def _begin(self, job: _Job, seconds_left: float) -> None:
        """Let a thread run the job, unless nobody would wait for it; else give its slot up."""
        try:
            if seconds_left <= 0:
                raise DeadlineExceeded(self.timeout_seconds)
            self._idle_thread().begin(job)
        except BaseException:
            job.slot.release()
            raise

    def _idle_thread(self) -> _Thread:
        with suppress(IndexError):  # there is none, or another caller took the last
            return self._idle.pop()
        try:
            return _Thread(self._idle)
        except RuntimeError:
            raise Overloaded.of_worker() from None

    def _forget_threads(self) -> None:
        self._idle.clear()


class _Job:
    """One call on its way to another thread and back."""

    def __init__(self, slot: Slot, work: Callable[[], None]) -> None:
        self.slot = slot
        self._work = work
        self.error: BaseException | None = None
        self.ended = threading.Lock()
        """Held until the work has ended."""
        self.ended.acquire()

    def run(self) -> None:
        try:
            with self.slot:
                self._work()
        except BaseException as error:  # noqa: BLE001 (it belongs to the caller)
            self.error = error


class _Thread:
    """Runs one job after the other; idle in between."""

    def __init__(self, idle: list[_Thread]) -> None:
        self._idle = idle
        self._job: _Job | None = None
        self._begun = threading.Lock()
        self._begun.acquire()
        # Whoever ends the process does not wait for a prediction that may never end.
        threading.Thread(target=self._run, name="prediction", daemon=True).start()

    def begin(self, job: _Job | None) -> None:
        """Run a job, or end where there is none."""
        self._job = job
        self._begun.release()

    def _run(self) -> None:
        while True:
            self._begun.acquire()
            job, self._job = self._job, None
            if job is None:
                cleanup().at_the_end()
                return
            cleanup().between_requests()
            job.run()
            cleanup().between_requests()
            # Before the caller knows, so that its next call finds this thread.
            self._idle.append(self)
            job.ended.release()
            del job


def _end(idle: list[_Thread]) -> None:
    while idle:
        idle.pop().begin(None)
