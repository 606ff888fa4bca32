"""Models that die, hang, or eat memory, as they are told to; made for processes of their own."""

from __future__ import annotations

import ctypes
import datetime
import os
import threading
import time
from pathlib import Path
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel

from models_api.for_models import current_request


class Order(BaseModel):
    what: str


class Report(BaseModel):
    process: int
    said: str = ""


class DyingModel(MLModel):
    """Does what it is told."""

    display_name = "Dying"
    qualified_name = "dying"
    description = "Dies as it is told."
    version = "1.0.0"
    input_schema = Order
    output_schema = Report

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def predict(self, data: Any) -> Any:
        """Obey."""
        orders = {
            "abort": os.abort,
            "exit": lambda: os._exit(3),
            "close": lambda: os.closerange(0, 4096),
            "eat": self._eat,
            "hang": lambda: time.sleep(1000),
            "hang in native code": lambda: ctypes.PyDLL(None).sleep(1000),
            "wait": lambda: time.sleep(2),
            "nothing": lambda: None,
        }
        orders[data.what]()
        return Report(process=os.getpid())

    def _eat(self) -> None:
        while True:
            self._kept.append(bytearray(os.urandom(1000) * 20_000))
            time.sleep(0.01)


class TellingModel(DyingModel):
    """Tells what it knows of where it is."""

    display_name = "Telling"
    qualified_name = "telling"

    def __init__(self, since: object = None) -> None:
        self._since = since

    def predict(self, data: Any) -> Any:
        """Tell."""
        told = {
            "environment": os.environ.get("DYING_MODEL", ""),
            "nice": str(os.nice(0)),
            "since": repr(self._since),
            "id": current_request().id,
        }
        return Report(process=os.getpid(), said=told[data.what])


class DyingAtFirstModel(DyingModel):
    """Dies the first time that it is loaded."""

    display_name = "Dying at first"
    qualified_name = "dying_at_first"

    def __init__(self, folder: str) -> None:
        super().__init__()
        mark = Path(folder) / "tried"
        if not mark.exists():
            mark.touch()
            os.abort()


class FailingModel(DyingModel):
    """Cannot be loaded."""

    display_name = "Failing"
    qualified_name = "failing"

    def __init__(self) -> None:
        raise FileNotFoundError("there are no weights")


class SlowModel(DyingModel):
    """Takes ten milliseconds."""

    display_name = "Slow"
    qualified_name = "slow"

    def predict(self, data: Any) -> Any:
        """Take them."""
        time.sleep(0.01)
        return Report(process=os.getpid())


class DyingTogetherModel(DyingModel):
    """Does what each row of a call says."""

    display_name = "Dying together"
    qualified_name = "dying_together"

    def predict_batch(self, data: list[Any]) -> list[Any]:
        """Obey all."""
        time.sleep(0.005)
        return [self.predict(each) for each in data]


class GatheringModel(DyingModel):
    """Tells how many rows it got in one call."""

    display_name = "Gathering"
    qualified_name = "gathering"
    asked = threading.Lock()

    def predict_batch(self, data: list[Any]) -> list[Any]:
        """Tell."""
        time.sleep(0.05)
        return [Report(process=os.getpid(), said=str(len(data))) for _ in data]


TODAY = datetime.date(2026, 11, 28)
