"""A model that ends its process, or holds it, as its input says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

from ml_base import MLModel
from pydantic import BaseModel

Way = Literal["nothing", "abort", "exit", "eat memory", "never return", "close all descriptors"]


class Order(BaseModel):
    """What the model is to do."""

    way: Way = "nothing"


class Report(BaseModel):
    """In which process it did so."""

    process: int


class PoisonedModel(MLModel):
    """Does to its process what it is told."""

    display_name = "Poisoned"
    qualified_name = "poisoned"
    description = "Does to its process what it is told."
    version = "1.0.0"
    input_schema = Order
    output_schema = Report

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: Order) -> Report:
        """Do it."""
        _DEEDS[data.way]()
        return Report(process=os.getpid())


def _eat() -> None:
    kept: list[bytearray] = []
    while True:
        kept.append(bytearray(os.urandom(1000) * 20_000))


_DEEDS: dict[Way, Callable[[], object]] = {
    "nothing": lambda: None,
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "eat memory": _eat,
    "never return": lambda: time.sleep(1000),
    "close all descriptors": lambda: os.closerange(0, 4096),
}
