"""Models that fork while they predict or load, for the scripts of a test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy
from ml_base import MLModel
from pydantic import BaseModel, field_serializer, field_validator

from tests.prediction.test_predictor import ArrayRows, inputs, loaded

__all__ = ["json", "load", "loaded", "many", "predictions"]


class Order(BaseModel):
    how: str


class Report(BaseModel):
    status: int


def fork(how: str) -> Report:
    """Fork, and come out of it in the child as it is told; return the child's status."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return Report(status=os.waitstatus_to_exitcode(status))
    # It may still be in the buffer when the child ends.
    print("in the child", flush=how == "exit")  # noqa: T201
    if how.startswith("exit"):
        argument = {"exit": None, "exit 5": 5, "exit text": "in words"}[how]
        sys.exit(argument)
    if how == "raise":
        raise RuntimeError("no luck")
    if how == "interrupt":
        raise KeyboardInterrupt
    return Report(status=99)


class ForkingModel(MLModel):
    """Forks for each prediction."""

    display_name = "Forking"
    qualified_name = "forking"
    description = "Forks."
    version = "1.0.0"
    input_schema: type[BaseModel] = Order
    output_schema: type[BaseModel] = Report
    how = ""

    def __init__(self) -> None:
        self.report = fork(self.how) if self.how else None

    def predict(self, data: Order) -> Any:
        """Fork."""
        return fork(data.how)

    def predict_batch(self, data: list[Order]) -> Any:
        """Do not."""
        raise NotImplementedError


class AsyncForkingModel(ForkingModel):
    """Forks on a loop."""

    async def predict(self, data: Order) -> Any:
        """Fork."""
        await asyncio.sleep(0)
        return fork(data.how)


class ForkingRowsModel(ForkingModel):
    """Forks for many rows."""

    def predict_batch(self, data: list[Order]) -> Any:
        """Fork once."""
        return [fork(data[0].how)] * len(data)


class ForkingColumnsModel(ForkingModel):
    """Forks for columns."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Fork once."""
        return {"status": [fork(columns["how"][0]).status] * len(columns["how"])}


class ForkingInitModel(ForkingModel):
    """Forks while it loads."""

    def __init__(self) -> None:
        self.report = fork(os.environ["HOW"])


class ForkingOrder(Order):
    @field_validator("how")
    @classmethod
    def fork(cls, how: str) -> str:
        """Fork before the model is called."""
        fork(how)
        return how


class ForkingInputModel(ForkingModel):
    """Its input forks."""

    input_schema = ForkingOrder

    def predict(self, data: Order) -> Any:
        """Do nothing."""
        return Report(status=0)


class ForkingReport(Report):
    how: str

    @field_serializer("status")
    def fork(self, status: int) -> int:
        """Fork after the model was called."""
        fork(self.how)
        return status


class ForkingOutputModel(ForkingModel):
    """Its output forks."""

    output_schema = ForkingReport

    def predict(self, data: Order) -> Any:
        """Do nothing."""
        return ForkingReport(status=0, how=data.how)


class _Rows(ArrayRows):
    def make(self) -> list[object | None]:
        return [Order(how=how) for how in self._columns["how"]]

    def columns(self) -> Any:
        return self._columns


def predictions(name: str, keys: dict[str, Any], how: str) -> object:
    """Ask for one prediction, and then for two in one request."""
    predictor = loaded(f"{__name__}.{name}", **keys).predictor
    one = json.loads(predictor.predict(json.dumps({"how": how}).encode()))
    row = {"how": how}
    return [one, json.loads(predictor.predict_batch(inputs(row, row)))["predictions"]]


def many(name: str, keys: dict[str, Any], how: str) -> object:
    """Ask for two predictions at once, by columns if the model takes those."""
    predictor = loaded(f"{__name__}.{name}", **keys).predictor
    rows = _Rows(how=numpy.array([how, how], dtype=object))
    (found,) = list(predictor.predict_rows(rows))
    columns = found.to_columns() or {}
    return [{"status": status} for status in columns["status"]]


def load(how: str) -> str:
    """Load a model that forks meanwhile."""
    os.environ["HOW"] = how
    model = loaded(f"{__name__}.ForkingInitModel")
    return f"{model.state.name} {model.ready_model().report.status}"
