"""Models and decorators that refuse requests by answers of their own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, field_validator

from models_api.for_models import (
    Conflict,
    Refusal,
    ResourceNotFound,
    TooManyRequests,
    Unprocessable,
)


class CustomerUnknown(ResourceNotFound):
    """An error of a team's own, with arguments of its own."""

    def __init__(self, customer: int) -> None:
        super().__init__(f"There is no customer {customer}.")
        self.customer = customer


class Unlisted(Refusal):
    """Derives from the base alone, which has no status."""


class Wish(BaseModel):
    wish: str = ""
    customer: int = 1

    @field_validator("customer")
    @classmethod
    def _exists(cls, customer: int) -> int:
        if customer == 404:
            raise CustomerUnknown(customer)
        return customer


class Score(BaseModel):
    customer: int


ANSWERS: dict[str, Any] = {
    "not found": lambda: ResourceNotFound("No such customer."),
    "conflict": lambda: Conflict("The account is closed: größer, \ud800"),
    "unprocessable": lambda: Unprocessable("Nothing to go by."),
    "too many": lambda: TooManyRequests("The quota is used up.", retry_after_seconds=2.5),
    "conflict for now": lambda: Conflict("Try again.", retry_after_seconds=-1),
    "of its own": lambda: CustomerUnknown(7),
    "without a word": TooManyRequests,
    "chained": lambda: Conflict("outer").with_traceback(None),
    "unlisted": lambda: Unlisted("no status"),
    "soon": lambda: Conflict("No time.", retry_after_seconds=float("nan")),
}


class RefusingModel(MLModel):
    """Answers each wish; in batches it takes a moment, so that the next one grows."""

    display_name = "Refusing"
    qualified_name = "refusing"
    description = "Refuses what it is asked to refuse."
    version = "1.0.0"
    input_schema: Any = Wish
    output_schema = Score
    refusals: Sequence[type[Refusal]] = (
        CustomerUnknown,
        Conflict,
        Unprocessable,
        TooManyRequests,
    )

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: Wish) -> Score:
        if data.wish:
            raise ANSWERS[data.wish]()
        return Score(customer=data.customer)


class RefusingBatchModel(RefusingModel):
    qualified_name = "refusing_batch"
    refusals = (Conflict,)

    def predict_batch(self, data: list[Wish]) -> list[Score]:
        time.sleep(0.02)
        return [self.predict(each) for each in data]


class QuotaDecorator(MLModelDecorator):
    """Refuses a customer before the model is asked."""

    refusals = (TooManyRequests,)

    def predict(self, data: Wish) -> Any:
        if data.customer == 429:
            raise TooManyRequests("Enough for today.", retry_after_seconds=3600)
        return self._model.predict(data)


class QuietModel(RefusingModel):
    """Lists nothing of what it raises."""

    qualified_name = "quiet"
    refusals = ()


class WronglyListed(RefusingModel):
    refusals: Any = (ValueError,)


class WronglyListedDecorator(MLModelDecorator):
    refusals: Any = Conflict


class TensorsInput(BaseModel):
    wish: str
    customer: int


class RefusingTensorsModel(RefusingModel):
    """Takes columns, which it refuses."""

    qualified_name = "refusing_tensors"
    input_schema: Any = TensorsInput

    def predict_columns(self, columns: Any) -> Any:
        raise Conflict("never heard of")
