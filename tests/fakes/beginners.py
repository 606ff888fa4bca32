"""Models as beginners write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel


class Flat(BaseModel):
    """What a client sends."""

    square_metres: float


class Rent(BaseModel):
    """What it gets."""

    value: float


class RentModel(MLModel):
    """Has no `__init__`, and predicts an array where the schema says a number."""

    display_name, qualified_name, version, description = "Rent", "rent", "1.0.0", ""
    input_schema, output_schema = Flat, Rent

    def predict(self, data: Flat) -> Rent:
        """Fail."""
        return Rent(value=np.array([data.square_metres]))  # type: ignore[arg-type]


class CostsModel(RentModel):
    """Calls the `__init__` of ml_base."""

    qualified_name = "costs"

    def __init__(self) -> None:
        """Fail."""
        super().__init__()


class DoublingModel(RentModel):
    """Has no `__init__`, and works."""

    qualified_name = "doubling"

    def predict(self, data: Flat) -> Rent:
        """Double it."""
        return Rent(value=2 * data.square_metres)


class Prepared:
    """Has an `__init__` that takes nothing."""

    def __init__(self) -> None:
        """Prepare."""
        self.is_prepared = True


class PreparedModel(DoublingModel, Prepared):
    """Has the `__init__` of what stands behind MLModel in its bases."""

    qualified_name = "prepared"


class ForgetfulModel(DoublingModel):
    """Predicts batches in the way that the configuration says."""

    qualified_name = "forgetful"

    def __init__(self, how: str) -> None:
        """Take how."""
        self.how = how

    def predict_batch(self, data: list[Flat]) -> Any:
        """Predict for the rows, or something else."""
        found = [self.predict(each) for each in data]
        if self.how == "raises":
            raise RuntimeError("no batches today")
        return {"nothing": None, "too few": found[1:], "a number": 1, "works": found}[self.how]
