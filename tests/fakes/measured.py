"""A model that keeps metrics of its own."""

from __future__ import annotations

import os
import time

from ml_base import MLModel
from prometheus_client import Counter, Gauge
from pydantic import BaseModel

PREDICTIONS = Counter("measured_by_the_model", "Predictions, as the model counts them.")
ALIVE = Gauge("measured_by_the_model_alive", "Processes.", multiprocess_mode="livesum")


class MeasuredInput(BaseModel):
    value: int


class MeasuredOutput(BaseModel):
    process: int


class MeasuredModel(MLModel):
    """Says which process it is in."""

    display_name = "Measured"
    qualified_name = "measured"
    description = "Counts its predictions."
    version = "1.0.0"
    input_schema = MeasuredInput
    output_schema = MeasuredOutput

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: MeasuredInput) -> MeasuredOutput:
        """Count."""
        PREDICTIONS.inc()
        ALIVE.set(1)
        return MeasuredOutput(process=os.getpid())


class LateModel(MeasuredModel):
    """Takes its time."""

    display_name = "Late"
    qualified_name = "late"

    def predict(self, data: MeasuredInput) -> MeasuredOutput:
        """Sleep."""
        time.sleep(0.05)
        return super().predict(data)
