"""How long something is tried that others keep from working now, and perhaps not later."""

from __future__ import annotations

import random
import threading
import time

from models_api.scoring.errors import JobStopped

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries, where nobody says how many."""


class Patience:
    """Waits between the tries of one request, each time longer."""

    def __init__(self, seconds: float, stopped: threading.Event) -> None:
        """Begin.

        Args:
            seconds: For which to try.
            stopped: Set once there is nothing more to try.
        """
        self._seconds = seconds
        self._stopped = stopped
        self._until = time.monotonic() + seconds
        self._pause = FIRST_PAUSE

    def wait(self, problem: str, told: float | None) -> None:
        """Return once the request may be tried again.

        Args:
            problem: What keeps it from working.
            told: Seconds that others ask to wait; None where they do not.

        Raises:
            JobStopped: that takes too long.
        """
        seconds = self._pause * random.uniform(0.5, 1) if told is None else told  # noqa: S311
        if time.monotonic() + seconds > self._until:
            raise JobStopped(f"{problem} for {self._seconds:.0f} s.")
        if self._stopped.wait(seconds):
            raise JobStopped("The job was stopped.")
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
