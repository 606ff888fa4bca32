"""The watchdog: a process in which a prediction never ends is replaced, after the others ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback

from models_api.fork import call_after_fork
from models_api.logs import SafeLogger
from models_api.prediction.limiter import Slot, WorkerLimiter
from models_api.prediction.request_context import current_request

logger = SafeLogger(__name__)

_LONGEST_INTERVAL_SECONDS = 5.0
# A server that stops keeps connections for a moment, for requests that are under way already.
_LINGER_SECONDS = 3.0
_DRAIN_SECONDS = 30.0
_EXIT_STATUS = 1


class Watchdog:
    """Looks after the predictions of this process, in a thread.

    Nothing can stop a prediction that hangs, but the end of its process. So the process says that
    it is not healthy, asks its server to stop (SIGTERM), lets the other predictions end, and ends
    whatever happens. That there is another process instead is the affair of whoever started it.
    """

    is_watching: bool
    """Whether the thread runs in this process."""

    def __init__(self, limiter: WorkerLimiter, patience_seconds: float) -> None:
        self._limiter = limiter
        self._patience_seconds = patience_seconds
        """How long a prediction may go on after its timeout, or at all if it has none."""
        self._begin()
        # The thread is not in a forked child.
        call_after_fork(self._begin)

    def start(self) -> None:
        """Begin to look, unless that was done before; it ends with the process only."""
        if self.is_watching:
            return
        with self._starting:
            if not self.is_watching:
                threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
                self.is_watching = True

    def _begin(self) -> None:
        self._starting = threading.Lock()
        self.is_watching = False

    def _watch(self) -> None:
        interval = min(self._patience_seconds / 10, _LONGEST_INTERVAL_SECONDS)
        hung: list[Slot] = []
        while not hung:
            time.sleep(interval)
            hung = self._hung()
        self._limiter.is_hung = True
        # Even if what hangs holds a lock that is needed below.
        threading.Thread(target=_end_late, name="watchdog-end", daemon=True).start()
        for slot in hung:
            _report(slot)
        os.kill(os.getpid(), signal.SIGTERM)
        self._wait_for_others()
        os._exit(_EXIT_STATUS)

    def _hung(self) -> list[Slot]:
        now = time.monotonic()
        return [slot for slot in self._limiter.running() if self._is_hung(slot, now)]

    def _is_hung(self, slot: Slot, now: float) -> bool:
        return now - slot.began > (slot.timeout_seconds or 0) + self._patience_seconds

    def _wait_for_others(self) -> None:
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < _DRAIN_SECONDS:
            others = len(self._limiter.running()) - len(self._hung())
            if not others and waited > _LINGER_SECONDS:
                return
            time.sleep(_LINGER_SECONDS / 30)


def _end_late() -> None:
    time.sleep(_DRAIN_SECONDS + _LINGER_SECONDS)
    os._exit(_EXIT_STATUS)


def _report(slot: Slot) -> None:
    frame = sys._current_frames().get(slot.thread)
    if frame is None:  # it has just ended
        return
    current_request.set(slot.request)
    logger.critical(
        "A prediction of %s has not ended after %.0f s; this process (pid %d) gives up."
        " The prediction is at:\n%s",
        slot.model,
        time.monotonic() - slot.began,
        os.getpid(),
        "".join(traceback.format_stack(frame)),
    )
