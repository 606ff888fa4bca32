"""Saves the model in this folder by MLflow: `python -m examples.mlflow.make`.

Needs the environment that `make .venv-mlflow/.ready` makes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import rmtree

import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline


def make(folder: Path) -> Path:
    """Save a pipeline that takes missing values, with its signature; return its folder."""
    frame = load_diabetes(as_frame=True, scaled=False)
    data = frame.data[["bmi", "bp"]].copy()
    data.loc[::10, "bp"] = None  # so that the signature says that it may be missing
    fitted = make_pipeline(SimpleImputer(), Ridge()).fit(data, frame.target)
    signature = infer_signature(data, fitted.predict(data))
    path = folder / "progression"
    rmtree(path, ignore_errors=True)
    mlflow.sklearn.save_model(
        fitted,
        str(path),
        signature=signature,
        skops_trusted_types=["numpy.dtype"],
        pip_requirements=["mlflow-skinny", "scikit-learn", "skops"],
    )
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{make(Path(__file__).parent)}\n")
