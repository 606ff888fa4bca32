"""A pool of threads of which no more work at a time than can be of use."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from models_api.prediction.waiting import waits

_FEW = 2
_SHARE = 0.7
"""Below one, so that threads which only wait for each other become fewer."""
_NOTHING_ELSE = 1.25
"""Above one by what threads wait for the main loop, and for the processor."""
_JOBS = 200
_SECONDS = 0.25
"""After so many jobs, or jobs of so many seconds together, a judgement is due."""
_SOME = 0.05
"""Share of the jobs."""


class Demand:
    """How many threads are of use, judged by the jobs that were done so far.

    Threads that compute in Python take turns with its lock, and each change of threads costs as
    much as a good part of a small prediction: there a few threads do more than many. Threads that
    wait for something else leave the processor to others, and many do more than a few.

    Which it is, is seen from what jobs take of the clock and of the processor. Of `n` threads that
    only wait for each other, each has the processor for one `n`th of the time; if they have it for
    less, they wait for something else as well. So the number follows that ratio, a little below it.
    Where there is nothing else to wait for, there is one fewer each time, or three would stay
    three. But of jobs that wait to be done together, in a batch, there cannot be too many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.threads = most
        """Nothing is known yet."""
        self._begin()

    def learn(self, seconds: float, processor_seconds: float, has_waited: bool) -> None:
        """Hear of a job that is done."""
        self._jobs += 1
        self._seconds += seconds
        self._processor_seconds += processor_seconds
        self._waited += has_waited
        enough = self._jobs >= _JOBS or self._seconds > _SECONDS
        if enough or self._waited > _SOME * _JOBS:
            self.threads = min(self._most, max(_FEW, self._of_use()))
            self._begin()

    def want_more(self) -> None:
        """Hear that one more would be of use, for now."""
        self.threads = min(self._most, self.threads + 1)

    def _begin(self) -> None:
        self._jobs = 0
        self._seconds = 0.0
        self._processor_seconds = 0.0
        self._waited = 0
        """How many jobs waited for others."""

    def _of_use(self) -> int:
        if self._waited > _SOME * self._jobs:
            return self._most
        ratio = self._seconds / max(self._processor_seconds, 1e-6)
        number = int(1 + _SHARE * ratio)
        return min(number, self.threads - 1) if ratio < _NOTHING_ELSE * self.threads else number


class AdaptivePool:
    """Runs jobs, first come first served, on up to `most` threads, but wakes few where few will do.

    What is not said to be called by any thread is for one, such as a main loop.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._all_taken = threading.Event()
        self._jobs: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._idle: list[threading.Lock] = []
        """Of each idle thread the lock that wakes it; the last to fall asleep is the first up."""
        self._threads = 0
        self._at_work = 0
        self._demand = Demand(most)
        self._taken = self._taken_at_last_look = 0

    def submit(self, handle: Callable[[Any], object], argument: Any) -> None:
        """Let a thread call `handle`, which must not raise, once `wake` is called."""
        self._jobs.append((handle, argument))

    def wake(self) -> None:
        """Wake as many threads as are of use for what was submitted.

        That is a call of its own as a thread that wakes up takes the interpreter from whoever goes
        on to submit.
        """
        if not self._jobs:
            return
        with self._lock:
            for _ in range(min(len(self._jobs), self._demand.threads - self._at_work)):
                self._wake_one()

    @property
    def at_work(self) -> int:
        """Number of threads that have a job; to be called by any thread."""
        return self._at_work

    @property
    def is_behind(self) -> bool:
        """Whether jobs wait for a thread; to be called by any thread."""
        return bool(self._jobs)

    def wait_until_taken(self, seconds: float) -> None:
        """Wait until each job has a thread, but not for longer than that.

        Nor for few jobs, which may be those that the threads have been woken for.
        """
        if len(self._jobs) <= self._at_work:
            return
        with self._lock:
            if not self._jobs:
                return
            self._all_taken.clear()
        self._all_taken.wait(seconds)

    def look(self) -> None:
        """Let one more thread work if none has taken a job since the last look.

        Call it every now and then: jobs that take long tell nothing of themselves before their end.
        """
        with self._lock:
            if self._jobs and self._taken == self._taken_at_last_look:
                self._demand.want_more()
                self._wake_one()
            self._taken_at_last_look = self._taken

    def _wake_one(self) -> None:
        if self._idle:
            self._idle.pop().release()
        elif self._threads < self._most:
            # Whoever ends the process does not wait for a prediction that may never end.
            thread = threading.Thread(target=self._work, name="predictions", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no room for it now; the next look tries again
                return
            self._threads += 1
        else:
            return
        self._at_work += 1

    def _work(self) -> None:
        wake_up = threading.Lock()
        wake_up.acquire()
        while True:
            job = self._take(wake_up)
            if job is None:
                wake_up.acquire()
                continue
            handle, argument = job
            begun, processor_begun, waits_before = time.monotonic(), time.thread_time(), waits()
            handle(argument)
            del job, handle, argument
            seconds = time.monotonic() - begun
            processor_seconds = time.thread_time() - processor_begun
            with self._lock:
                self._demand.learn(seconds, processor_seconds, waits() > waits_before)

    def _take(self, wake_up: threading.Lock) -> tuple[Callable[[Any], object], Any] | None:
        with self._lock:
            if self._jobs and self._at_work <= self._demand.threads:
                self._taken += 1
                job = self._jobs.popleft()
                if not self._jobs and not self._all_taken.is_set():
                    self._all_taken.set()
                return job
            self._at_work -= 1
            self._idle.append(wake_up)
            return None
