"""A thread's own count of how often it waited for others."""

from __future__ import annotations

import threading

from models_api.prediction.waiting import note_wait, waits


def test_each_thread_counts_for_itself() -> None:
    counts: list[int] = []

    def wait_twice() -> None:
        note_wait()
        note_wait()
        counts.append(waits())

    before = waits()
    thread = threading.Thread(target=wait_twice)
    thread.start()
    thread.join()
    assert (counts, waits()) == ([2], before)
