"""Makes the model files in this folder: `python -m examples.artefacts.make`.

Needs skl2onnx, skops, LightGBM and XGBoost besides scikit-learn: requirements/testing.txt has them.
Those of CatBoost and PyTorch are made where these are: requirements/cookbook.txt has them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def make(folder: Path) -> list[Path]:
    """Fit a model of each kind, and save it in the folder; return the files."""
    makers = [make_onnx, make_scikit_learn, make_skops, make_lightgbm, make_xgboost]
    if find_spec("catboost"):
        makers.append(make_catboost)
    if find_spec("torch"):
        makers.append(make_torch_export)
    return [maker(folder) for maker in makers]


def make_onnx(folder: Path) -> Path:
    """Make a logistic regression as ONNX, as skl2onnx converts it."""
    data, species = load_iris(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, species)
    first = data[:1].astype(np.float32)
    path = folder / "iris.onnx"
    path.write_bytes(to_onnx(fitted, first, options={"zipmap": False}).SerializeToString())
    return path


def make_scikit_learn(folder: Path) -> Path:
    """Make a pipeline that takes missing values, fitted on a DataFrame."""
    frame = load_diabetes(as_frame=True, scaled=False)
    measured = ["bmi", "bp", "s5", "s6"]
    columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), measured))
    fitted = make_pipeline(columns, Ridge()).fit(frame.data[measured], frame.target)
    path = folder / "diabetes.joblib"
    joblib.dump(fitted, path)
    return path


def make_skops(folder: Path) -> Path:
    """Make a classifier that needs no trust, as all its types are known to skops."""
    frame = load_breast_cancer(as_frame=True)
    data = frame.data[["mean radius", "mean texture", "mean smoothness"]]
    fitted = make_pipeline(StandardScaler(), LogisticRegression())
    fitted.fit(data, frame.target_names[frame.target].tolist())
    path = folder / "tumours.skops"
    skops.io.dump(fitted, path)
    return path


def make_lightgbm(folder: Path) -> Path:
    """Make a booster of LightGBM for three classes."""
    frame = load_wine(as_frame=True)
    data = frame.data[["alcohol", "flavanoids", "proline"]]
    classifier = lightgbm.LGBMClassifier(n_estimators=10, num_leaves=4, verbose=-1, n_jobs=1)
    path = folder / "wine.txt"
    classifier.fit(data, frame.target).booster_.save_model(path)
    return path


def make_xgboost(folder: Path) -> Path:
    """Make a booster of XGBoost that predicts a number."""
    frame = load_diabetes(as_frame=True, scaled=False)
    regressor = xgboost.XGBRegressor(n_estimators=10, max_depth=2, n_jobs=1)
    path = folder / "progression.ubj"
    regressor.fit(frame.data[["bmi", "bp"]], frame.target).save_model(path)
    return path


def make_catboost(folder: Path) -> Path:
    """Make a classifier of CatBoost with a column of categories."""
    import catboost  # noqa: PLC0415 (not every environment has it)

    frame = load_diabetes(as_frame=True, scaled=False)
    data = frame.data[["bmi", "bp"]].assign(age=np.where(frame.data.age < 50, "below 50", "above"))
    classifier = catboost.CatBoostClassifier(
        iterations=10,
        depth=3,
        random_seed=0,
        thread_count=1,
        verbose=False,
        cat_features=["age"],
        allow_writing_files=False,
    )
    path = folder / "severity.cbm"
    classifier.fit(data, np.where(frame.target > 140, "severe", "mild")).save_model(path)
    return path


def make_torch_export(folder: Path) -> Path:
    """Make a network of PyTorch that takes any number of rows, as torch.export saves it."""
    import torch  # noqa: PLC0415 (not every environment has it)

    data, species = (torch.tensor(each) for each in load_iris(return_X_y=True))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        loss: Any = torch.nn.functional.cross_entropy(network(data.float()), species)
        loss.backward()
        optimiser.step()
    whole = torch.nn.Sequential(network, torch.nn.Softmax(1)).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(whole, (data[:2].float(),), dynamic_shapes=shapes)
    path = folder / "iris_network.pt2"
    torch.export.save(program, path)
    return path


if __name__ == "__main__":
    for made in make(Path(__file__).parent):
        sys.stdout.write(f"{made}: {made.stat().st_size} bytes\n")
