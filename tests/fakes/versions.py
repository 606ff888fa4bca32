"""A model of which there are several versions: each prediction tells which one made it."""

import os
import threading
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel, Field

from models_api.exceptions import Unprocessable


class Customer(BaseModel):
    id: int | str | None = None


class Order(BaseModel):
    """What is ordered, and by whom."""

    value: float = Field(le=1000)
    customer_id: int | float | str | None = None
    customer: Customer | None = None


class PlainOrder(BaseModel):
    """Something that has the same fields, in other words."""

    value: float = Field(le=1000, description="In euros.", examples=[7])
    customer_id: int | float | str | None = Field(default=None, title="Who")
    customer: Customer | None = None


class LargerOrder(BaseModel):
    value: float = Field(le=2000)
    customer_id: int | float | str | None = None
    customer: Customer | None = None


class Taken(BaseModel):
    by: str
    value: float
    worker: int


class OrderModel(MLModel):
    display_name = "Orders"
    qualified_name = "orders"
    description = "Tells who took an order."
    version = "1.0"
    input_schema: Any = Order
    output_schema = Taken

    def __init__(self, by: str = "", fails: float | None = None, hangs: bool = False) -> None:
        self._by = by
        self._fails = fails
        self._hangs = hangs

    def predict(self, data: Any) -> Taken:
        if self._hangs:
            threading.Event().wait()
        if data.value == self._fails:
            raise ZeroDivisionError
        if data.value < 0:
            raise Unprocessable("Nothing is ordered.")
        return Taken(by=self._by, value=data.value, worker=os.getpid())


class BatchOrderModel(OrderModel):
    def predict_batch(self, data: list[Any]) -> list[Taken]:
        return [self.predict(each) for each in data]


class PlainOrderModel(OrderModel):
    input_schema = PlainOrder


class LargerOrderModel(OrderModel):
    input_schema = LargerOrder


class LateLargerOrderModel(OrderModel):
    @property
    def input_schema(self) -> Any:
        return self._schema

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self._schema = LargerOrder


class FailingOrderModel(OrderModel):
    def __init__(self) -> None:
        raise RuntimeError("The file is not there.")
