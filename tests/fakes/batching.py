"""Models that predict batches, and note how they were asked."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field


class RowInput(BaseModel):
    value: int = Field(ge=-1000, le=1000)


class RowOutput(BaseModel):
    value: int
    batch_size: int
    """Rows of the call that predicted this one."""
    process: int = Field(default_factory=os.getpid)
    loaded_in: int = 0


class BatchingModel(MLModel):
    """Doubles; refuses -1, raises at -2, returns nonsense for -3, and takes 20 ms for each call."""

    display_name = "Batching"
    qualified_name = "batching"
    description = "Doubles numbers, many at a time."
    version = "1.0.0"
    input_schema = RowInput
    output_schema = RowOutput

    def __init__(self) -> None:
        self._loaded_in = os.getpid()
        self._busy = threading.Lock()

    def predict(self, data: RowInput) -> Any:
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[RowInput]) -> list[Any]:
        time.sleep(0.02)
        return [self._predict(row, len(data)) for row in data]

    def _predict(self, row: RowInput, size: int) -> Any:
        if row.value == -1:
            raise MLModelSchemaValidationException("minus one is not for doubling")
        if row.value == -2:
            raise RuntimeError("secret reason")
        if row.value == -3:
            return {"value": "nonsense", "batch_size": size}
        return RowOutput(value=2 * row.value, batch_size=size, loaded_in=self._loaded_in)


class ShortModel(BatchingModel):
    """Loses the last result of each batch."""

    qualified_name = "short"

    def predict(self, data: RowInput) -> Any:
        return self._predict(data, 1)

    def predict_batch(self, data: list[RowInput]) -> list[Any]:
        return super().predict_batch(data)[1:]


class SlowModel(BatchingModel):
    """Takes a second for each call with an odd row."""

    qualified_name = "slow"

    def predict_batch(self, data: list[RowInput]) -> list[Any]:
        if any(row.value % 2 for row in data):
            time.sleep(1)
        return super().predict_batch(data)


class AddOneDecorator(MLModelDecorator):
    """A user's decorator, which knows nothing of batches."""

    def predict(self, data: RowInput) -> Any:
        output = self._model.predict(data)
        return output.model_copy(update={"value": output.value + 1})
