"""Saves models by MLflow, and what each predicts: `python -m tests.fakes.mlflow_models FOLDER`.

Beside the folder NAME of each model are NAME.rows.json and NAME.expected.json. Runs in the
environment that `make .venv-mlflow/.ready` makes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

ROWS = 1000
RANDOM = np.random.default_rng(0)


class Basket(mlflow.pyfunc.PythonModel):
    """Code of one's own, which takes a list, a moment, an object, and a parameter."""

    def predict(
        self, context: Any, model_input: Any, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Add up a basket."""
        factor = (params or {})["factor"]
        if (model_input["price"] < 0).any():
            raise ValueError("a price below zero")
        total = model_input["price"] * factor + model_input["buyer"].map(lambda each: each["age"])
        days = model_input["day"].dt.day
        sizes = model_input["things"].map(len)
        return pd.DataFrame({"total": total, "things": sizes, "day": days})


def flats() -> pd.DataFrame:
    """Return rows of mixed columns with missing values."""
    frame = pd.DataFrame(
        {
            "Size (m²)": RANDOM.normal(60, 20, ROWS),
            "rooms": RANDOM.integers(1, 6, ROWS),
            "class": RANDOM.choice(["simple", "good", "grand"], ROWS),
        }
    )
    frame.loc[::7, "Size (m²)"] = np.nan
    return frame


def pipeline(frame: pd.DataFrame) -> Any:
    """Fit a pipeline that tells cheap flats from dear ones."""
    columns = make_column_transformer(
        (SimpleImputer(), ["Size (m²)", "rooms"]),
        (OneHotEncoder(handle_unknown="ignore"), ["class"]),
    )
    prices = np.where(frame["rooms"] + RANDOM.normal(size=ROWS) > 3, "dear", "cheap")
    return make_pipeline(columns, LogisticRegression()).fit(frame, prices)


def save(folder: Path, name: str, save_model: Callable[..., None], **arguments: Any) -> Any:
    """Save a model, and return it as pyfunc loads it."""
    # Else it would find out, in a process for each of them, what they import.
    arguments = {"pip_requirements": ["scikit-learn"], **arguments}
    save_model(path=str(folder / name), **arguments)
    return mlflow.pyfunc.load_model(str(folder / name))


def note(folder: Path, name: str, rows: list[Any], expected: list[Any]) -> None:
    """Write down rows, and what is predicted of them."""
    for what, values in (("rows", rows), ("expected", expected)):
        text = json.dumps(values, default=lambda value: value.item())
        (folder / f"{name}.{what}.json").write_text(text, encoding="utf-8")


def make_pipelines(folder: Path) -> None:
    """Save a pipeline with a signature, and without one."""
    frame = flats()
    fitted = pipeline(frame)
    rows = json.loads(frame.astype(object).where(frame.notna(), None).to_json(orient="records"))
    signature = infer_signature(frame, fitted.predict(frame))
    pickled = {"serialization_format": "cloudpickle"}
    old = {"pip_requirements": ["scikit-learn==0.1.2"]}
    for name, more in (("signed", {"signature": signature, **old}), ("unsigned", {})):
        found = save(
            folder, name, mlflow.sklearn.save_model, sk_model=fitted, **pickled, **more
        ).predict(pd.DataFrame(rows).astype({"Size (m²)": float}))
        note(folder, name, rows, [{"value": each} for each in found.tolist()])


def make_tensor(folder: Path) -> None:
    """Save a regression of two targets that takes an array of float32."""
    data = RANDOM.normal(size=(ROWS, 4)).astype(np.float32)
    targets = data @ RANDOM.normal(size=(4, 2))
    fitted = LinearRegression().fit(data.astype(np.float64), targets)
    signature = infer_signature(data, fitted.predict(data))
    found = save(
        folder, "tensor", mlflow.sklearn.save_model, sk_model=fitted, signature=signature
    ).predict(data)
    rows = [{"features": row} for row in data.tolist()]
    note(folder, "tensor", rows, [{"value": row} for row in found.tolist()])


def make_code(folder: Path) -> None:
    """Save Python code, with a parameter that some rows have."""
    rows = [
        {
            "price": float(price),
            "things": ["x"] * (index % 4),
            "day": f"2026-01-{index % 28 + 1:02}T10:00:00",
            "buyer": {"age": index % 90},
        }
        for index, price in enumerate(RANDOM.uniform(0, 100, ROWS))
    ]
    frame = pd.DataFrame(rows).assign(day=lambda each: pd.to_datetime(each["day"]))
    given = {"total": [1.0], "things": [1], "day": np.array([1], "int32")}
    signature = infer_signature(frame, pd.DataFrame(given), params={"factor": 2.0})
    loaded = save(
        folder, "code", mlflow.pyfunc.save_model, python_model=Basket(), signature=signature
    )
    plain, tripled = loaded.predict(frame), loaded.predict(frame, {"factor": 3.0})
    for row in rows[::3]:
        row["factor"] = 3.0
    plain.iloc[::3] = tripled.iloc[::3]
    note(folder, "code", rows, plain.to_dict("records"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for make in (make_pipelines, make_tensor, make_code):
        make(Path(sys.argv[1]))
