"""Models that do to their process what models should not do, or print while they are at it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from tests.fakes.changing import ERRORS


class Order(BaseModel):
    """What to do."""

    do: str = "nothing"
    number: int = 0


class Done(BaseModel):
    """What came of it."""

    number: int
    process: int


class ExecutingModel(MLModel):
    """Does what its input says."""

    display_name = "Executing"
    qualified_name = "executing"
    description = "Does what its input says."
    version = "1.0.0"
    input_schema = Order
    output_schema = Done

    def __init__(self) -> None:
        print("printed in __init__")  # noqa: T201
        print("unfinished in __init__", end="|")  # noqa: T201
        print("complained in __init__", end="|", file=sys.stderr)  # noqa: T201

    def predict(self, data: Order) -> Any:
        """Do it."""
        if data.do in ERRORS:
            raise ERRORS[data.do]("secret")
        getattr(self, f"_{data.do}")(data.number)
        return Done(number=data.number, process=os.getpid())

    def _nothing(self, number: int) -> None:
        pass

    def _print(self, number: int) -> None:
        print(f"printed in predict {number}")  # noqa: T201

    def _hang(self, number: int) -> None:
        print("hanging")  # noqa: T201
        time.sleep(3600)

    def _end(self, number: int) -> None:
        os._exit(number)

    def _end_in_c(self, number: int) -> None:
        ctypes.CDLL(None)._exit(number)

    def _fork_and_return(self, number: int) -> None:
        os.fork()

    def _fork_and_exit(self, number: int) -> None:
        if os.fork() == 0:
            sys.exit(number)

    def _fork_and_raise(self, number: int) -> None:
        if os.fork() == 0:
            raise RuntimeError("no luck in the child")

    def _fork_pty(self, number: int) -> None:
        os.forkpty()


class ManyExecutingModel(ExecutingModel):
    """The same for many rows."""

    qualified_name = "executing_many"

    def __init__(self) -> None:
        """Print nothing."""

    def predict_batch(self, data: list[Order]) -> Any:
        """Do it for all."""
        return [self.predict(row) for row in data]


class AsyncExecutingModel(ExecutingModel):
    """The same on an event loop."""

    qualified_name = "executing_async"

    def __init__(self) -> None:
        """Print nothing."""

    async def predict(self, data: Order) -> Any:
        """Do it."""
        await asyncio.sleep(0)
        return super().predict(data)


class InterruptedModel(ExecutingModel):
    """Cannot be loaded."""

    qualified_name = "interrupted"

    def __init__(self) -> None:
        raise KeyboardInterrupt


class UnspeakableError(BaseException):
    """Cannot even be written."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnspeakableModel(ExecutingModel):
    """Cannot be loaded, nor say why."""

    qualified_name = "unspeakable"

    def __init__(self) -> None:
        raise UnspeakableError


class EventLoopModel(ExecutingModel):
    """Wants the event loop of a main thread."""

    qualified_name = "event_loop"

    def __init__(self) -> None:
        self.loop = asyncio.get_event_loop()


class SignalModel(ExecutingModel):
    """Handles a signal, as only a main thread can."""

    qualified_name = "signal"

    def __init__(self) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class WhereModel(ExecutingModel):
    """Knows where it was loaded."""

    qualified_name = "where"

    def __init__(self) -> None:
        self.thread = threading.current_thread()


class LateSignalModel(SignalModel):
    """The same, and it says its name only once it is loaded."""

    qualified_name: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.qualified_name = "late_signal"
