"""A model with a tensor of each kind, in and out."""

from ml_base import MLModel
from pydantic import BaseModel, Field


class Reading(BaseModel):
    """What a sensor measured."""

    temperature: float
    count: int
    active: bool
    label: str
    vector: list[float] = Field(min_length=3, max_length=3)


class EchoModel(MLModel):
    """Gives back what it is given."""

    display_name = "Echo"
    qualified_name = "echo"
    description = "Gives back what it is given."
    version = "2.1.0"
    input_schema = Reading
    output_schema = Reading

    def __init__(self) -> None:
        """Have nothing to load."""

    def predict(self, data: Reading) -> Reading:
        """Give the reading back."""
        return data
