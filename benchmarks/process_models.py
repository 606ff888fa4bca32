"""Models for the comparison of processes: the same ones under another name, and slow ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.memory_models import HoldingModel
from benchmarks.models import ConstantModel, Flower, Prediction, RandomForestModel

_SECONDS = 0.01


class ProcessConstantModel(ConstantModel):
    """The same under another name, to be served in a process beside the one on threads."""

    qualified_name = "process_constant"


class ProcessRandomForestModel(RandomForestModel):
    """The same under another name."""

    qualified_name = "process_random_forest"


class OneSleepingModel(ConstantModel):
    """Waits for ten milliseconds, in one process."""

    qualified_name = "one_sleeping"

    def predict(self, data: Flower) -> Prediction:
        """Predict for one flower, after a while."""
        time.sleep(_SECONDS)
        return super().predict(data)


class TwoSleepingModel(OneSleepingModel):
    """The same in two."""

    qualified_name = "two_sleeping"


class OneComputingModel(ConstantModel):
    """Multiplies matrices for ten milliseconds of one processor, in one process."""

    qualified_name = "one_computing"

    def __init__(self) -> None:
        """Make the matrix."""
        self._matrix = np.random.default_rng(1).random((100, 100))

    def predict(self, data: Flower) -> Prediction:
        """Predict for one flower, after some work."""
        end = time.thread_time() + _SECONDS
        while time.thread_time() < end:
            self._matrix @ self._matrix
        return super().predict(data)


class TwoComputingModel(OneComputingModel):
    """The same in two."""

    qualified_name = "two_computing"


class Weights(HoldingModel):
    """A numpy array of 400 MB."""

    def hold(self) -> Any:
        """Return the array."""
        return np.ones(50_000_000)

    def look(self) -> None:
        """Use all of it."""
        self._held.sum()


class Nothing(HoldingModel):
    """What is left where the weights are taken away."""
