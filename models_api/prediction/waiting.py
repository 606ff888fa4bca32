"""Whether a thread had to wait for others, for whoever decides how many threads there are to be."""

from __future__ import annotations

import threading


class _Waits(threading.local):
    number = 0


_waits = _Waits()


def note_wait() -> None:
    """Note that this thread waits for others, such as those of its batch."""
    _waits.number += 1


def waits() -> int:
    """How often this thread has waited for others so far."""
    return _waits.number
