"""Forests of scikit-learn, pickled by the version that is to load them."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import sklearn
from ml_base import MLModel
from pydantic import BaseModel
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier


class Flower(BaseModel):
    measures: list[float]


class Species(BaseModel):
    probabilities: list[float]
    library: str


class OldForest(MLModel):
    """A forest from a file."""

    display_name = "Old forest"
    qualified_name = "old"
    description = "A forest."
    version = sklearn.__version__
    input_schema = Flower
    output_schema = Species

    def __init__(self, path: str) -> None:
        with Path(path).open("rb") as file:
            self._forest = pickle.load(file)  # noqa: S301 (the test has written it)

    def predict(self, data: Any) -> Any:
        """Predict for one flower."""
        (found,) = self._forest.predict_proba([data.measures]).tolist()
        return Species(probabilities=found, library=sklearn.__version__)


class NewForest(OldForest):
    """Another one."""

    qualified_name = "new"


def main(action: str, path: str) -> None:
    """Fit a forest and write it, or read it and print what it says of some flowers."""
    flowers, species = load_iris(return_X_y=True)
    if action == "fit":
        forest = RandomForestClassifier(20, random_state=0).fit(flowers, species)
        Path(path).write_bytes(pickle.dumps(forest))
    forest = pickle.loads(Path(path).read_bytes())  # noqa: S301
    told = {
        "library": sklearn.__version__,
        "probabilities": forest.predict_proba(flowers[::15]).tolist(),
    }
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
