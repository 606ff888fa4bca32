"""What every server serves: the same classifiers, fitted on the same data in the same way.

Knows nothing of any server, so that it can be imported in the environment of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

SPECIES = ("setosa", "versicolor", "virginica")

Rows = Sequence[Sequence[float]] | np.ndarray[Any, Any]
Classifier = Callable[[Rows], list[str]]
"""Takes measurements, shape (rows, 4), and names the species of each."""


def constant() -> Classifier:
    """Always say setosa: what is left is the cost of the server."""
    return lambda rows: [SPECIES[0]] * len(rows)


def logistic_regression() -> Classifier:
    """Cheap: some ten microseconds of numpy, behind scikit-learn's checks of its input."""
    return _fitted(LogisticRegression(max_iter=500))


def random_forest() -> Classifier:
    """Expensive per call, but hardly more for 64 rows than for one: where batching matters."""
    return _fitted(RandomForestClassifier(n_estimators=100, n_jobs=1, random_state=0))


CLASSIFIERS: dict[str, Callable[[], Classifier]] = {
    "constant": constant,
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
}


def _fitted(estimator: Any) -> Classifier:
    features, labels = load_iris(return_X_y=True)
    estimator.fit(features, labels)
    return lambda rows: [SPECIES[label] for label in estimator.predict(np.asarray(rows))]
