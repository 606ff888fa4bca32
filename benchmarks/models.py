"""The classifiers as MLModel classes, for this service and rest_model_service; and slow models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel, Field

from benchmarks.classifiers import CLASSIFIERS


class Species(StrEnum):
    """A species of iris."""

    SETOSA = "setosa"
    VERSICOLOR = "versicolor"
    VIRGINICA = "virginica"


class Flower(BaseModel):
    """The measurements of one flower, in centimetres."""

    sepal_length: float = Field(gt=0, lt=10)
    sepal_width: float = Field(gt=0, lt=10)
    petal_length: float = Field(gt=0, lt=10)
    petal_width: float = Field(gt=0, lt=10)

    def features(self) -> list[float]:
        """Return the measurements in the order of the data set's columns."""
        return [self.sepal_length, self.sepal_width, self.petal_length, self.petal_width]


class Prediction(BaseModel):
    """The most likely species."""

    species: Species


class ConstantModel(MLModel):
    """Answers without looking, and so without a call of any classifier."""

    display_name = "Constant"
    qualified_name = "constant"
    description = "Says setosa."
    version = "1.0.0"
    input_schema = Flower
    output_schema = Prediction

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: Flower) -> Prediction:
        """Predict for one flower."""
        return Prediction(species=Species.SETOSA)

    def predict_batch(self, data: list[Flower]) -> list[Prediction]:
        """Predict for many flowers."""
        return [self.predict(flower) for flower in data]


class ClassifierModel(MLModel):
    """Base of the models that ask a classifier; the qualified name says which."""

    version = "1.0.0"
    input_schema = Flower
    output_schema = Prediction

    def __init__(self) -> None:
        """Fit the classifier."""
        name = self.qualified_name.removeprefix("unbatched_").removeprefix("process_")
        self._classify = CLASSIFIERS[name]()

    def predict(self, data: Flower) -> Prediction:
        """Predict for one flower."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[Flower]) -> list[Prediction]:
        """Predict for many flowers in one call of the classifier."""
        names = self._classify([flower.features() for flower in data])
        return [Prediction(species=Species(name)) for name in names]

    def predict_columns(self, columns: Mapping[str, Any]) -> dict[str, list[str]]:
        """Predict for many flowers, an array for each measurement, without an object for each."""
        features = np.column_stack([columns[name] for name in Flower.model_fields])
        return {"species": self._classify(features)}


class LogisticRegressionModel(ClassifierModel):
    """Logistic regression."""

    display_name = "Logistic regression"
    qualified_name = "logistic_regression"
    description = "Logistic regression on iris."


class RandomForestModel(ClassifierModel):
    """A forest of 100 trees."""

    display_name = "Random forest"
    qualified_name = "random_forest"
    description = "A random forest of 100 trees on iris."


class UnbatchedConstantModel(ConstantModel):
    """The same under another name, to be served without batching beside the one with."""

    qualified_name = "unbatched_constant"


class UnbatchedLogisticRegressionModel(LogisticRegressionModel):
    """The same under another name."""

    qualified_name = "unbatched_logistic_regression"


class UnbatchedRandomForestModel(RandomForestModel):
    """The same under another name."""

    qualified_name = "unbatched_random_forest"


class Wish(BaseModel):
    """How long a prediction shall take."""

    seconds: float = 0


class SleepingModel(MLModel):
    """Waits, as for a database, and computes nothing."""

    display_name = qualified_name = "sleeping"
    description = "Takes its time."
    version = "1.0.0"
    input_schema = Wish
    output_schema = Prediction

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: Wish) -> Prediction:
        """Sleep for so many seconds."""
        time.sleep(data.seconds)
        return Prediction(species=Species.SETOSA)


class HangingModel(ConstantModel):
    """Never answers."""

    def predict(self, data: Flower) -> Prediction:
        """Wait for ever."""
        while True:
            time.sleep(60)


class ComputingModel(SleepingModel):
    """Computes in Python, and so holds the interpreter."""

    display_name = qualified_name = "computing"

    def predict(self, data: Wish) -> Prediction:
        """Compute until so many seconds have gone by, however many others compute as well."""
        end = time.monotonic() + data.seconds
        while time.monotonic() < end:
            sum(range(1000))
        return Prediction(species=Species.SETOSA)


class FirstNeighbour(ConstantModel):
    """A fast model beside a slow one."""

    qualified_name = "first_neighbour"


class SecondNeighbour(ConstantModel):
    """Another."""

    qualified_name = "second_neighbour"


class ThirdNeighbour(ConstantModel):
    """Another."""

    qualified_name = "third_neighbour"


class FourthNeighbour(ConstantModel):
    """Another."""

    qualified_name = "fourth_neighbour"
