"""A model that changes its input in place, and fails in calls for several rows as it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, computed_field


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


class ElementwiseScalingModel(ScalingModel):
    """The same, and it changes the list that the row holds."""

    def _scale(self, row: Pixels) -> Mean:
        for index, value in enumerate(row.values):
            row.values[index] = value / 255
        return Mean(mean=sum(row.values) / len(row.values))


class ThreadDecorator(MLModelDecorator):
    """Predicts in a thread of its own, as decorators do that limit the time."""

    def predict(self, data: Pixels) -> Any:
        """Wait for the thread."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._model.predict, data).result(30)


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
    output_schema: type[BaseModel] = Point

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


class Panic(BaseException):
    """As libraries in Rust raise it."""


class PanickingSequence(Sequence[float]):
    """Holds values that cannot be had."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> Any:
        """Fail."""
        raise Panic("called `Option::unwrap()` on a `None` value")


class PanickingColumnsModel(ColumnsInPlaceModel):
    """Gives columns that fail once they are looked at."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Give them."""
        rows = len(columns["value"])
        return {"value": PanickingSequence(rows), "failure": columns["failure"]}


class PanickingOutput(BaseModel):
    value: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> float:
        """Twice the value, if that is not negative."""
        if self.value < 0:
            raise Panic("negative")
        return 2 * self.value


class PanickingOutputModel(ColumnsInPlaceModel):
    """Gives predictions that cannot be written."""

    output_schema: type[BaseModel] = PanickingOutput

    def predict(self, data: Point) -> Any:
        """Give one."""
        return PanickingOutput(value=data.value)

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Leave it to the rows."""
        raise NotImplementedError


class SecretiveModel(ColumnsInPlaceModel):
    """Has properties that fail, but not with an Exception, until it is loaded."""

    def __init__(self) -> None:
        self.loaded = True

    @property
    def output_schema(self) -> Any:  # type: ignore[override]
        """Tell it once it is loaded."""
        if "loaded" not in vars(self):
            raise Panic
        return Point
