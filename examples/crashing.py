"""A model with a fault as native code has them: one input ends the process that it is in."""

import os

from ml_base import MLModel
from pydantic import BaseModel, Field


class DivisionInput(BaseModel):
    """Two whole numbers."""

    dividend: int = Field(ge=-1000, le=1000, description="What is divided.", examples=[7])
    divisor: int = Field(ge=-1000, le=1000, description="By what; 0 crashes.", examples=[2])


class DivisionOutput(BaseModel):
    """The result of a division."""

    quotient: int = Field(description="How often the divisor goes into the dividend.")


class CrashingModel(MLModel):
    """Divides whole numbers as a library in C would, which does not survive a division by zero."""

    display_name = "Crashing"
    qualified_name = "crashing"
    description = "Divides whole numbers, and crashes if it is to divide by zero."
    version = "1.0.0"
    input_schema = DivisionInput
    output_schema = DivisionOutput

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: DivisionInput) -> DivisionOutput:
        """Divide, or crash."""
        if not data.divisor:
            os.abort()
        return DivisionOutput(quotient=data.dividend // data.divisor)
