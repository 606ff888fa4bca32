"""Saves a pipeline as MLflow wants it: `python -m benchmarks.services.mlflow_model FILE FOLDER`."""

from __future__ import annotations

import sys

import joblib
import mlflow.sklearn
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import infer_signature

from benchmarks.rows import ROWS


def main() -> None:
    """Write the folder, with a signature of what the pipeline takes."""
    path, folder = sys.argv[1:]
    pipeline = joblib.load(path)
    is_table = hasattr(pipeline, "feature_names_in_")
    rows = (
        pd.DataFrame([row.columns for row in ROWS])
        if is_table
        else np.array([row.features for row in ROWS])
    )
    signature = infer_signature(rows, pipeline.predict(rows))
    mlflow.sklearn.save_model(
        pipeline, folder, signature=signature, serialization_format="cloudpickle"
    )


if __name__ == "__main__":
    main()
