"""What is tried again and again, less and less often, until it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from models_api.threads import cleaned_up

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class RepeatedTries:
    """Tries on a thread of its own. A forked child does not have that thread."""

    def __init__(self, work: Callable[[], bool]) -> None:
        """Begin nothing yet.

        Args:
            work: One try; returns whether it was the last one.
        """
        self._work = work
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, after a first pause."""
        threading.Thread(target=cleaned_up(self._run), name="waiting", daemon=True).start()

    def end(self) -> None:
        """Try no more."""
        self._ended.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._ended.wait(pause) and not self._work():
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
