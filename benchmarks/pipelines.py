"""Makes the files that every server of `runtimes` serves: `python -m benchmarks.pipelines FOLDER`.

Pipelines of scikit-learn that tell the species of an iris, fitted on the same data, as joblib saves
them: one on an array of numbers, one on a DataFrame with numbers and words, some of them missing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.rows import COLOURS, MEASURES, PLACES

_MISSING = 0.05


def make(folder: Path) -> None:
    """Fit the pipelines, and save them in the folder."""
    features, labels = load_iris(return_X_y=True)
    species = load_iris().target_names[labels]
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(_of_numbers().fit(features, species), folder / "numbers.joblib")
    joblib.dump(_of_columns().fit(_frame(features), species), folder / "columns.joblib")


def _of_numbers() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _of_columns() -> Any:
    measured = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    named = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = make_column_transformer((measured, list(MEASURES)), (named, ["colour", "place"]))
    return make_pipeline(columns, LogisticRegression())


def _frame(features: np.ndarray[Any, Any]) -> Any:
    """Return a table of measurements and words that say nothing of the species."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(features, columns=list(MEASURES))
    frame["colour"] = chance.choice(COLOURS, len(frame)).astype(object)
    frame["place"] = chance.choice(PLACES, len(frame)).astype(object)
    return frame.mask(chance.random(frame.shape) < _MISSING)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
