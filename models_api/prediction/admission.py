"""What each request for predictions goes through first, wherever the model computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from models_api.prediction.deadline import DeadlineThreads
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import ConcurrencyLimiter
from models_api.prediction.watchdog import Watchdog

P = ParamSpec("P")
T = TypeVar("T")


class Admission:
    """Lets the requests for one model in, a bounded number at a time. Safe to use from threads."""

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        instruments: Instruments,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._limiter = limiter
        self._instruments = instruments
        self._watchdog = watchdog
        timeout_seconds = limiter.timeout_seconds
        self._threads = None if timeout_seconds is None else DeadlineThreads(timeout_seconds)

    def admit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work of one request returns, done in a slot of the limiter and in time.

        Raises:
            Overloaded, DeadlineExceeded: see the limiter.
            BaseException: whatever the work raises.
        """
        with self._instruments.prediction():
            if self._watchdog is not None and not self._watchdog.is_watching:
                self._watchdog.start()
            slot = self._limiter.acquire()
            if self._threads is None or slot.deadline is None:
                with slot:
                    return work(*args, **kwargs)
            seconds_left = slot.deadline - time.monotonic()
            return self._threads.call(seconds_left, slot, work, *args, **kwargs)
