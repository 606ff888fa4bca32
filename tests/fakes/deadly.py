"""A model that takes its process down with it, in the ways that real ones do."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel


class Order(BaseModel):
    """What the model is to do."""

    do: str = "echo"
    number: int = 0


class Report(BaseModel):
    """What it was told, and by which process it was done."""

    number: int
    process: int
    loaded_in: int


class DeadlyModel(MLModel):
    """Does what its input says."""

    display_name = "Deadly"
    qualified_name = "deadly"
    description = "Does what its input says."
    version = "1.0.0"
    input_schema = Order
    output_schema = Report

    def __init__(self, seconds_to_load: float = 0.0) -> None:
        time.sleep(seconds_to_load)
        self._loaded_in = os.getpid()

    def predict(self, data: Order) -> Any:
        """Do it."""
        getattr(self, f"_{data.do}")()
        return Report(number=data.number, process=os.getpid(), loaded_in=self._loaded_in)

    def _echo(self) -> None:
        pass

    def _take_a_second(self) -> None:
        time.sleep(1)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _exit(self) -> None:
        os._exit(7)

    def _exhaust_memory(self) -> None:
        hoard = []
        while True:
            hoard.append(np.empty(64 * 1024 * 1024, dtype=np.uint8))  # never written to
