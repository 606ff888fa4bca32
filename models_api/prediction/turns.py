"""Turns: predictions that keep Python's interpreter busy run few at a time, others all at once."""

from __future__ import annotations

import threading
import time
from collections import deque

from models_api.fork import call_after_fork

_FEW = 2
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05
_FOLLOWERS = 1
"""How many may begin on the word of one that woke up in time."""
_LATE_SECONDS = 0.0005
"""Far less than the 5 ms for which a thread may keep the interpreter to itself."""


class Turns:
    """Lets a prediction begin if few are running, or if those that run leave others room.

    Threads that compute in Python take turns with the interpreter, 5 ms each: the more they are,
    the longer everything else waits that the process has to do, and none of them is done sooner.
    Threads that wait, or compute outside of Python, are in nobody's way. Which they are is found
    out by the first in the queue: it pauses for a moment, and sees whether it wakes up in time.
    """

    _ended: threading.Lock
    """Released when a prediction has ended, for the first in the queue if it is awaited."""
    _is_awaited: bool

    def __init__(self) -> None:
        self._begin()
        # The threads that were predicting are not in a forked child.
        call_after_fork(self._begin)

    def __enter__(self) -> None:
        with self._lock:
            if not self._queue and self._is_room():
                self._running += 1
                return
            is_first = threading.Lock()
            if self._queue:
                is_first.acquire()
            self._queue.append(is_first)
        is_first.acquire()
        self._wait()

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._running -= 1
            if self._is_awaited:
                self._is_awaited = False
                self._ended.release()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._queue: deque[threading.Lock] = deque()
        """A lock for each that waits, released when it is the first."""
        self._followers = 0
        self._is_awaited = False
        self._ended = threading.Lock()
        self._ended.acquire()

    def _wait(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._take():
            begun = time.monotonic()
            if not self._ended.acquire(timeout=pause):
                if time.monotonic() - begun < pause + _LATE_SECONDS:
                    self._followers = 1 + _FOLLOWERS
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _is_room(self) -> bool:
        if self._running < _FEW:
            return True
        self._followers -= 1
        return self._followers >= 0

    def _take(self) -> bool:
        """Begin if there is room; else ask to be told of an end."""
        with self._lock:
            if not self._is_awaited:
                # What was told between the pause and now needs no second look.
                self._ended.acquire(blocking=False)
            self._is_awaited = not self._is_room()
            if not self._is_awaited:
                self._running += 1
                self._queue.popleft()
                if self._queue:
                    self._queue[0].release()
            return not self._is_awaited
