"""The classifiers as MLModel classes, for this service and for rest_model_service."""

from __future__ import annotations

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
        self._classify = CLASSIFIERS[self.qualified_name]()

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


class NeuralNetworkModel(ClassifierModel):
    """A small neural network."""

    display_name = "Neural network"
    qualified_name = "neural_network"
    description = "A network of two hidden layers on iris."


class UnbatchedModel(LogisticRegressionModel):
    """The same under another name, to be served without batching beside the one with."""

    qualified_name = "unbatched"

    def __init__(self) -> None:
        """Fit the same classifier."""
        self._classify = CLASSIFIERS[LogisticRegressionModel.qualified_name]()


class LargeModel(ConstantModel):
    """Holds 400 MB of weights, as one numpy array."""

    qualified_name = "large"

    def __init__(self) -> None:
        """Make the array and write to all of it, which is when it takes up memory."""
        self._weights = np.ones(50_000_000)

    def predict(self, data: Flower) -> Prediction:
        """Read some of the weights."""
        known = bool(self._weights[::4096].all())
        return Prediction(species=Species.SETOSA if known else Species.VIRGINICA)
