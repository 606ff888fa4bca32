"""Models that write to the log while they predict."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class Words(BaseModel):
    """What to say, and what to do."""

    text: str = ""
    do: str = "say"


class Number(BaseModel):
    """How many letters the text had."""

    letters: int


class TalkativeModel(MLModel):
    """Says what it does, never what it is given."""

    display_name = "Talkative"
    qualified_name = "talkative"
    description = "Talks while it predicts."
    version = "1.0.0"
    input_schema = Words
    output_schema = Number

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: Words) -> Any:
        """Say something, then do what the input says."""
        logger.info("Counting letters", extra={"request_id": "of my own", "unit": "letters"})
        return getattr(self, f"_{data.do}")(data)

    def _say(self, data: Words) -> Any:
        return Number(letters=len(data.text))

    def _raise(self, data: Words) -> Any:
        raise RuntimeError("The letters cannot be counted.")

    def _misfit(self, data: Words) -> Any:
        return {"letters": data.text}

    def _unwritable(self, data: Words) -> Any:
        letters: Any = data.text
        return Number.model_construct(letters=letters)

    def _thread(self, data: Words) -> Any:
        for target in (logger.info, copy_context().run):
            arguments = ("In a thread",) if target == logger.info else (logger.info, "In a copy")
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join()
        return self._say(data)


class TalkativeBatchModel(TalkativeModel):
    """Says once for a whole batch what it does."""

    qualified_name = "talkative_batch"

    def predict_batch(self, data: list[Words]) -> list[Any]:
        """Predict for all rows, or for none."""
        logger.info("Counting letters of %d texts", len(data))
        return [self._say(row) for row in data]
