"""Logs that fail, and models that make them fail."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal

from ml_base import MLModel
from pydantic import BaseModel


class RaisingHandler(logging.Handler):
    """Has no `try` around what it does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Fail."""
        raise RuntimeError("the log's own error")


class ExitingHandler(logging.Handler):
    """Ends whatever logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """End it."""
        sys.exit("the log's own end")


class BrokenPipeHandler(logging.StreamHandler):
    """Writes to a pipe that nobody reads."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        super().__init__(os.fdopen(writing, "w"))


class RaisingFilter(logging.Filter):
    """Fails for each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail."""
        raise LookupError("the filter's own error")


class RaisingFormatter(logging.Formatter):
    """Fails for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Fail."""
        raise ZeroDivisionError("the formatter's own error")


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Order(BaseModel):
    """What the model is to do first."""

    do: Literal["nothing", "log", "log badly", "close", "close descriptor", "raise"] = "nothing"


class Done(BaseModel):
    """That it was done."""

    did: str


class Noisy(MLModel):
    """Logs while it loads and while it predicts."""

    display_name = "Noisy"
    qualified_name = "noisy"
    description = "Logs."
    version = "1.0.0"
    input_schema: Any = Order
    output_schema: Any = Done

    def __init__(self) -> None:
        logging.getLogger(__name__).info("Loading %s", "well")

    def predict(self, data: Order) -> Done:
        """Do what is asked."""
        logger = logging.getLogger(__name__)
        if data.do == "log":
            logger.info("Predicting")
        elif data.do == "log badly":
            logger.info("%d %s", "no number", Unspeakable(), extra={"more": Unspeakable()})
        elif data.do == "close":
            sys.stderr.close()
        elif data.do == "close descriptor":
            os.close(2)
        elif data.do == "raise":
            raise RuntimeError("the model's own error")
        return Done(did=data.do)


class NoisyWithItsOwnHandler(Noisy):
    """Gives every logger a handler that fails."""

    def __init__(self) -> None:
        logging.getLogger().addHandler(RaisingHandler())
        super().__init__()


class Quiet(Noisy):
    """Loads after it."""

    display_name = "Quiet"
    qualified_name = "quiet"

    def __init__(self) -> None:
        pass
