"""Models that predict for files of rows."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field


class Address(BaseModel):
    street: str
    number: int | None = None


class Customer(BaseModel):
    age: int = Field(ge=0)
    income: float
    member: bool = False
    name: str = Field(alias="fullName")
    tier: Literal["gold", "silver"] | None = None
    address: Address | None = None
    visits: list[int] = []


class Rating(BaseModel):
    score: float
    greeting: str = Field(serialization_alias="theGreeting")
    address: Address | None = None
    visits: list[int]


class RatingModel(MLModel):
    """Rates customers, one by one, and fails for some names."""

    display_name, qualified_name, version = "Rating", "rating", "1.0.0"
    description = "Rates customers."
    input_schema: type[BaseModel] = Customer
    output_schema: type[BaseModel] = Rating

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> Any:
        if data.name == "refused":
            raise MLModelSchemaValidationException("this customer makes no sense")
        if data.name == "raises":
            raise RuntimeError("out of luck")
        return Rating(
            score=data.income * (2 if data.member else 1) - data.age,
            greeting=f'Dear "{data.name}",\nhello {{}},{{',
            address=data.address,
            visits=data.visits,
        )


class BatchRatingModel(RatingModel):
    """Rates many at once."""

    qualified_name = "batch_rating"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict_batch(self, data: list[Any]) -> list[Any]:
        self.calls.append(len(data))
        return [self.predict(each) for each in data]


class Number(BaseModel):
    x: float


class SlowModel(MLModel):
    """Takes its time for each row, so that it can be interrupted."""

    display_name, qualified_name, version = "Slow", "slow", "1.0.0"
    description = "Doubles."
    input_schema = output_schema = Number

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> Any:
        time.sleep(0.0005)
        if data.x == 7:
            print("a word of the model")  # noqa: T201
        if data.x == 13:
            raise MLModelSchemaValidationException("unlucky")
        return Number(x=2 * data.x)


class DeadlyRowModel(SlowModel):
    """Ends its process for one row, as long as there is no file that says otherwise."""

    qualified_name = "deadly_row"

    def predict(self, data: Any) -> Any:
        if data.x == 1500 and not Path(os.environ["SPARED"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return Number(x=2 * data.x)


class UnloadableModel(SlowModel):
    """Cannot be loaded."""

    qualified_name = "unloadable"

    def __init__(self) -> None:
        raise OSError("the weights are not there")
