"""What leaves another service alone for a while that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from models_api.fork import call_after_fork
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)


class CircuitOpen(Exception):
    """The other service is being left alone."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """After which it is tried again."""
        super().__init__()


class CircuitBreaker:
    """Refuses calls for a while after several in a row had no answer. Safe to use from threads.

    Then one is let through, and the others are refused until it has ended, or as long again.
    """

    _lock: threading.Lock
    _failures: int
    """In a row, until now."""
    _open_until: float | None
    """On the monotonic clock; None while calls go through."""

    def __init__(
        self, failures: int, seconds: float, label: str, on_change: Callable[[], object]
    ) -> None:
        """Begin closed, so that calls go through.

        Args:
            failures: Calls in a row without an answer that open it.
            seconds: For which it is open.
            label: What the log calls the other service.
            on_change: Called whenever it opens or closes.
        """
        self._maximum_failures = failures
        self._seconds = seconds
        self._label = label
        self._on_change = on_change
        self._forget()
        call_after_fork(self._forget)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for one now and then."""
        return self._open_until is not None

    def begin(self) -> None:
        """Let a call begin; it has to end by `succeeded` or by `failed`.

        Raises:
            CircuitOpen: it may not.
        """
        if self._open_until is None:
            return
        with self._lock:
            now, open_until = time.monotonic(), self._open_until or 0.0
            if now < open_until:
                raise CircuitOpen(open_until - now)
            if not self.is_open:
                return
            # This call tries; if it should never end, another one does after that.
            self._open_until = now + self._seconds

    def succeeded(self) -> None:
        """Hear that a call had an answer, whichever."""
        if not self._failures:
            return
        with self._lock:
            was_open, self._open_until, self._failures = self._open_until is not None, None, 0
        if was_open:
            logger.info("%s answers again", self._label)
            self._on_change()

    def failed(self, reason: str) -> None:
        """Hear that a call had no answer, and why."""
        with self._lock:
            self._failures += 1
            if self._failures < self._maximum_failures:
                return
            was_open = self._open_until is not None
            self._open_until = time.monotonic() + self._seconds
        if not was_open:
            logger.warning(
                "%s does not answer (%s): requests for it are refused at once, but for one every "
                "%g s, until it does",
                *(self._label, reason, self._seconds),
            )
            self._on_change()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = None
