"""Models that hold much, each in another kind of Python's objects, for the page on memory."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel
from sklearn.ensemble import RandomForestClassifier

from benchmarks.models import Flower, Species
from benchmarks.rows import ROWS


class Look(BaseModel):
    """A prediction, and the process that made it."""

    species: Species = Species.SETOSA
    process: int


class HoldingModel(MLModel):
    """Base of the models here; looks at all that it holds, unless it is asked for the first row."""

    version = "1.0.0"
    input_schema = Flower
    output_schema = Look

    def __init_subclass__(cls) -> None:
        cls.display_name = cls.qualified_name = f"constant_{cls.__name__.lower()}"
        cls.description = cls.__doc__

    def __init__(self) -> None:
        """Make what is held."""
        self._held = self.hold()

    def hold(self) -> Any:
        """Return what is held."""

    def look(self) -> None:
        """Use all that is held, as a prediction does."""

    def predict(self, data: Flower) -> Look:
        """Predict for one flower."""
        if data.features() != ROWS[0].features:
            self.look()
        return Look(process=os.getpid())


class Nothing(HoldingModel):
    """Nothing: this is what the service takes up itself."""


class Array(HoldingModel):
    """A numpy array of 200 MB."""

    def hold(self) -> Any:
        return np.ones(25_000_000)

    def look(self) -> None:
        self._held.sum()


class Forest(HoldingModel):
    """A scikit-learn forest of 200 deep trees."""

    def hold(self) -> Any:
        random = np.random.default_rng(1)
        forest = RandomForestClassifier(200, max_features=1, n_jobs=1, random_state=1)
        return forest.fit(random.random((10_000, 4)), random.integers(0, 3, 10_000))

    def look(self) -> None:
        self._held.predict(np.random.default_rng(2).random((2_000, 4)))


class Dictionary(HoldingModel):
    """A dictionary of a million strings and numbers."""

    def hold(self) -> Any:
        return {f"word {number}": number + 0.5 for number in range(1_000_000)}

    def look(self) -> None:
        sum(self._held.values())
        max(self._held)


class Records(HoldingModel):
    """A list of 200 000 pydantic objects of four fields."""

    def hold(self) -> Any:
        return [
            Flower(sepal_length=1 + number / 1e6, sepal_width=2, petal_length=3, petal_width=4)
            for number in range(200_000)
        ]

    def look(self) -> None:
        sum(record.sepal_length for record in self._held)
