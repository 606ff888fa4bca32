"""A model whose versions may be worse than each other."""

from __future__ import annotations

import random
import time

from ml_base import MLModel
from pydantic import BaseModel


class Number(BaseModel):
    """What it takes and gives."""

    number: float


class Canary(MLModel):
    """Gives back what it is given, unless it fails, after some time."""

    display_name = "Canary"
    qualified_name = "canary"
    description = "Gives back what it is given."
    version = "1"
    input_schema = Number
    output_schema = Number

    def __init__(self, error_ratio: float = 0.0, seconds: float = 0.0) -> None:
        self._error_ratio = error_ratio
        self._seconds = seconds

    def predict(self, data: Number) -> Number:
        """Fail as often as was asked for."""
        time.sleep(self._seconds)
        if random.random() < self._error_ratio:  # noqa: S311 (no secret)
            raise RuntimeError("the canary is ill")
        return data
