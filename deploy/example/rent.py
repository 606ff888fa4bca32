"""A model of a team's own."""

from __future__ import annotations

from ml_base import MLModel
from pydantic import BaseModel, Field


class Flat(BaseModel):
    """What the rent depends on."""

    square_metres: float = Field(gt=0, le=1000)
    rooms: int = Field(ge=1, le=20)


class Rent(BaseModel):
    """The rent that is usual for the flat."""

    euros_per_month: float


class RentModel(MLModel):
    """Estimates the rent of a flat."""

    display_name, qualified_name, version = "Rent", "rent", "1.0.0"
    description = "Estimates the rent of a flat."
    input_schema, output_schema = Flat, Rent

    def __init__(self, price_per_square_metre: float) -> None:
        self._price = price_per_square_metre

    def predict(self, data: Flat) -> Rent:
        """Estimate the rent of one flat."""
        return Rent(euros_per_month=self._price * data.square_metres + 40 * data.rooms)
