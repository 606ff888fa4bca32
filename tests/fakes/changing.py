"""A model that changes its input in place, and fails in calls for several rows as it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel


class OwnError(BaseException):
    """As a library may derive its errors: no Exception."""


ERRORS: dict[str, type[BaseException]] = {
    each.__name__: each
    for each in (
        *(RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration),
        *(asyncio.CancelledError, OwnError),
    )
}
"""What a call for a row whose `failure` is the name raises."""
WRONG_RESULTS = ("too few", "too many", "none", "nothing")


class Pixels(BaseModel):
    values: list[float]
    failure: str = ""
    """What a call for several rows does where the last of them says so."""
    alone: str = ""
    """Name of the error that a call for this row alone raises."""


class Mean(BaseModel):
    mean: float


class ScalingModel(MLModel):
    """The mean of pixels from 0 to 255 as a number from 0 to 1; scales its input in place."""

    display_name = "Scaling"
    qualified_name = "scaling"
    description = "Scales pixels."
    version = "1.0.0"
    input_schema = Pixels
    output_schema = Mean

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.calls: list[list[float]] = []
        """The first value of each row of each call, before it was changed."""

    def predict(self, data: Pixels) -> Any:
        """Predict for one row, once the gate is open."""
        self.calls.append([data.values[0]])
        self.entered.set()
        self.gate.wait(30)
        if data.alone:
            raise ERRORS[data.alone]("secret")
        return self._scale(data)

    def predict_batch(self, data: list[Pixels]) -> Any:
        """Predict for rows, and change them even where that fails."""
        self.calls.append([row.values[0] for row in data])
        found = [self._scale(row) for row in data]
        failure = data[-1].failure
        if failure in ERRORS:
            raise ERRORS[failure]("secret")
        return {
            "too few": found[1:],
            "too many": [*found, found[0]],
            "none": [],
            "nothing": None,
        }.get(failure, found)

    def _scale(self, row: Pixels) -> Mean:
        row.values = [value / 255 for value in row.values]
        return Mean(mean=sum(row.values) / len(row.values))


class ShiftingDecorator(MLModelDecorator):
    """Changes rows in place before its model gets them."""

    def predict(self, data: Pixels) -> Any:
        """Make the row darker."""
        data.values = [value - 51 for value in data.values]
        return self._model.predict(data)


class Point(BaseModel):
    value: float
    failure: str


class ColumnsInPlaceModel(MLModel):
    """The same by columns: halves numbers in place, and raises where the last row says so."""

    display_name = "In place"
    qualified_name = "in_place"
    description = "Halves numbers."
    version = "1.0.0"
    input_schema = Point
    output_schema = Point

    def __init__(self) -> None:
        """Have nothing to load."""

    def predict(self, data: Point) -> Any:
        """Halve the number."""
        data.value /= 2
        return data

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Halve all numbers, and then perhaps fail."""
        columns["value"][:] /= 2
        failure = columns["failure"][-1]
        if failure:
            columns["failure"][:] = "changed"
            raise ERRORS[failure]("secret")
        return dict(columns)
