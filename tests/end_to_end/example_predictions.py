"""A prediction of each example model, and what scikit-learn itself gives for the row."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.diabetes import DiabetesModelInput
from examples.iris import IrisModelInput

ROW = 100


@cache
def predictions() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Body and answer by qualified name."""
    return {"iris": _iris(), "diabetes": _diabetes(), "digits": _digits()}


def assert_examples_are_served(client: httpx.Client) -> None:
    """Ask for a prediction of each model."""
    for name, (body, answer) in predictions().items():
        response = client.post(f"/api/models/{name}/prediction", json=body)
        assert response.status_code == 200, response.text
        expected = {
            key: pytest.approx(value) if isinstance(value, float) else value
            for key, value in answer.items()
        }
        assert response.json() == expected


def _iris() -> tuple[dict[str, Any], dict[str, Any]]:
    data = load_iris()
    row = data.data[ROW]
    [probabilities] = (
        LogisticRegression(max_iter=1000).fit(data.data, data.target).predict_proba([row])
    )
    answer = {
        "species": str(data.target_names[probabilities.argmax()]),
        "probability": float(probabilities.max()),
    }
    return dict(zip(IrisModelInput.model_fields, row.tolist(), strict=True)), answer


def _diabetes() -> tuple[dict[str, Any], dict[str, Any]]:
    rows, progressions = load_diabetes(return_X_y=True, scaled=False)
    model = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(rows, progressions)
    body = dict(zip(DiabetesModelInput.model_fields, rows[ROW].tolist(), strict=True))
    return body, {"progression": float(model.predict(rows[ROW : ROW + 1])[0])}


def _digits() -> tuple[dict[str, Any], dict[str, Any]]:
    images = load_digits()
    row = images.data[ROW : ROW + 1]
    model = RandomForestClassifier(n_estimators=100, random_state=0).fit(images.data, images.target)
    [probabilities] = model.predict_proba(row)
    answer = {"digit": int(probabilities.argmax()), "probability": float(probabilities.max())}
    return {"image": images.images[ROW].tolist()}, answer
