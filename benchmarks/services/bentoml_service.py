"""BentoML with the classifiers, each batchable; the environment variable WORKERS says how many."""

import os

import bentoml
import numpy as np

from benchmarks import classifiers


@bentoml.service(
    workers=int(os.environ["WORKERS"]),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Iris:
    """All classifiers, an endpoint for each."""

    def __init__(self) -> None:
        """Fit them."""
        self._classify = {name: make() for name, make in classifiers.CLASSIFIERS.items()}

    @bentoml.api(batchable=True, max_batch_size=64)
    def constant(self, rows: np.ndarray) -> list[str]:
        """Predict for the rows of a batch."""
        return self._classify["constant"](rows)

    @bentoml.api(batchable=True, max_batch_size=64)
    def logistic_regression(self, rows: np.ndarray) -> list[str]:
        """Predict for the rows of a batch."""
        return self._classify["logistic_regression"](rows)

    @bentoml.api(batchable=True, max_batch_size=64)
    def random_forest(self, rows: np.ndarray) -> list[str]:
        """Predict for the rows of a batch."""
        return self._classify["random_forest"](rows)
