"""A model that does not keep what its schemas say."""

from __future__ import annotations

from typing import Any

from ml_base import MLModel
from pydantic import BaseModel, Field


class MisdocumentedInput(BaseModel):
    """Says of a number that it is small, and takes any."""

    number: int = Field(ge=0, json_schema_extra={"maximum": 1000})


class MisdocumentedOutput(BaseModel):
    """Says of a number that it is small, and gives any."""

    number: int = Field(json_schema_extra={"maximum": 500})


class MisdocumentedModel(MLModel):
    """Gives back what it takes, but for zero."""

    display_name = "Misdocumented"
    qualified_name = "misdocumented"
    description = "Takes, gives and does what is not documented."
    version = "1.0.0"
    input_schema = MisdocumentedInput
    output_schema = MisdocumentedOutput

    def __init__(self) -> None:
        """Do nothing: there is nothing to load."""

    def predict(self, data: Any) -> MisdocumentedOutput:
        """Give the number back, and fail at zero."""
        if data.number == 0:
            raise ZeroDivisionError
        return MisdocumentedOutput(number=data.number)
