"""A module that starts a thread as it is imported, and a model that needs it."""

from __future__ import annotations

import queue
import threading
from typing import Any

from tests.fakes.dying import DyingModel, Report

_asked: queue.Queue[queue.Queue[str]] = queue.Queue()


def _answer() -> None:
    while True:
        _asked.get().put("heard")


threading.Thread(target=_answer, name="answering", daemon=True).start()


class ThreadedModel(DyingModel):
    """Asks the thread."""

    display_name = "Threaded"
    qualified_name = "threaded"

    def predict(self, data: Any) -> Any:
        """Ask, or obey."""
        if data.what != "ask":
            return super().predict(data)
        answer: queue.Queue[str] = queue.Queue()
        _asked.put(answer)
        return Report(process=0, said=answer.get(timeout=5))
