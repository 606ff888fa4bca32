"""The predictions that a worker has in hand, and how many of them are too many."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

_MANY_PER_THREAD = 2
_TOO_MANY_PER_THREAD = 16
_LATE_SECONDS = 0.25
_LASTING_SECONDS = 0.1
"""Longer than what a worker that was held up for a moment needs to catch up."""
_LOOK_SECONDS = 0.01
"""For which one look at the backlog counts at most, for nobody knows what was before it."""
_QUIET_SECONDS = 1.0
_FEW_PER_THREAD = 0.5
_SHORT_SECONDS = 0.075
_WEIGHT_OF_THE_LAST = 0.1


class Backlog:
    """Takes a prediction in hand, or finds that it is too much. Safe to use from many threads.

    With a maximum, what is above it is too much. Without one, any number up to 16 for each thread
    is taken as long as predictions end quickly enough: a burst, or many clients of a fast model.

    A worker is overloaded once it has had more than two for each thread in hand for a tenth of a
    second, and the last of them would have waited for a quarter of one. A long queue then only
    makes all of them late, so from there on no more may wait than are running, or than end within
    75 ms. With that the processor always has something to do, and who is taken is answered about as
    soon as without the overload. It has ended when nothing had to be refused for a second, or when
    there are so few clients that nobody would wait for a quarter of a second if all of them asked
    at once.

    Times are seconds on the monotonic clock.
    """

    def __init__(
        self,
        threads: int,
        maximum: int = 0,
        *,
        running: Callable[[], int],
        clients: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        """Make it.

        Args:
            threads: How many predict.
            maximum: 0 for none.
            running: Tells how many are under way.
            clients: Tells how many could ask, each for one prediction at a time.
        """
        self._threads = threads
        self._maximum = maximum
        self._running = running
        self._clients = clients
        self._lock = threading.Lock()
        self._in_hand = 0
        self._last_end = 0.0
        """Or when the first was taken in hand, after there was none."""
        self._seconds_between_ends = 0.0
        """A moving average."""
        self._late_seconds = 0.0
        self._last_look = 0.0
        self._overloaded_until = 0.0

    def take(self, now: float) -> bool:
        """Take one more in hand, and say so; or leave it, as it is too much."""
        with self._lock:
            if self._is_full(now):
                return False
            if not self._in_hand:
                self._last_end = now
            self._in_hand += 1
            return True

    def end(self, now: float) -> None:
        """Have one less in hand."""
        with self._lock:
            since_the_last = now - self._last_end
            change = since_the_last - self._seconds_between_ends
            self._seconds_between_ends += _WEIGHT_OF_THE_LAST * change
            self._last_end = now
            self._in_hand -= 1

    def _is_full(self, now: float) -> bool:
        if self._maximum:
            return self._in_hand >= self._maximum
        if self._in_hand >= _TOO_MANY_PER_THREAD * self._threads:
            return True
        if not self._is_overloaded(now) or not self._is_enough(now):
            return False
        self._overloaded_until = now + _QUIET_SECONDS
        return True

    def _is_overloaded(self, now: float) -> bool:
        if now >= self._overloaded_until and not self._is_late(now):
            return False
        if self._seconds_until_end(self._clients(), now) < _LATE_SECONDS:
            self._overloaded_until = 0.0
            return False
        return True

    def _is_enough(self, now: float) -> bool:
        """Whether there is something to do for a while, for a worker that is overloaded."""
        if self._seconds_until_end(self._in_hand, now) < _SHORT_SECONDS:
            return False
        return self._in_hand >= max(_FEW_PER_THREAD * self._threads, 2 * self._running())

    def _is_late(self, now: float) -> bool:
        """Whether one more would have to wait for too long, and that not just for a moment."""
        since_the_last, self._last_look = now - self._last_look, now
        is_short = self._seconds_until_end(self._in_hand, now) < _LATE_SECONDS
        if is_short or self._in_hand < _MANY_PER_THREAD * self._threads:
            self._late_seconds = 0.0
            return False
        self._late_seconds += min(since_the_last, _LOOK_SECONDS)
        return self._late_seconds >= _LASTING_SECONDS

    def _seconds_until_end(self, predictions: int, now: float) -> float:
        """How long it takes until so many have ended, if they go on to end as they do now."""
        return predictions * max(self._seconds_between_ends, now - self._last_end)
