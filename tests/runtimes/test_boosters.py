"""Boosters predict over the service what their libraries predict in a process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import xgboost

from models_api.exceptions import ConfigurationError
from tests.runtimes.serving import ArtefactService

random = np.random.default_rng(0)
SIZE = 300
FLATS = pd.DataFrame(
    {
        "size (m²)": random.uniform(20, 120, SIZE),
        "class": pd.Categorical(random.choice(["simple", "good", "grand"], SIZE)),
        "model": pd.Categorical(random.choice([1, 2, 5], SIZE)),
        "city": pd.Categorical(["Bonn"] * SIZE),
    }
)
FLATS.loc[::7, "size (m²)"] = np.nan
FLATS.loc[::11, "class"] = np.nan
SCORES = FLATS["size (m²)"].fillna(60).to_numpy() + random.normal(0, 10, SIZE)
NAMES = ["cheap", "fair", "dear"]
THREE = np.digitize(SCORES, [50, 80])
TWO = (SCORES > 70).astype(int)


def records(names: Sequence[str] = tuple(FLATS)) -> list[dict[str, Any]]:
    return [
        {name: None if pd.isna(value) else value for name, value in zip(names, row, strict=True)}
        for row in FLATS.astype(object).to_numpy().tolist()
    ]


def vectors(rows: np.ndarray) -> list[dict[str, Any]]:
    listed = pd.DataFrame(rows).astype(object).where(~np.isnan(rows), None).to_numpy().tolist()
    return [{"features": row} for row in listed]


def of_classes(probabilities: Any, labels: Sequence[object]) -> list[dict[str, Any]]:
    if probabilities.ndim == 1:
        probabilities = np.column_stack([1 - probabilities, probabilities])
    return [
        {
            "label": labels[int(np.argmax(row))],
            "probabilities": dict(zip(map(str, labels), row.tolist(), strict=True)),
        }
        for row in probabilities
    ]


def test_lightgbm_with_categories_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    for labels, names in ((TWO, None), (THREE, NAMES)):
        fitted = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(FLATS, labels)
        fitted.booster_.save_model(path)
        entry = {} if names is None else {"labels": names}
        service = ArtefactService(path, **entry)
        expected = of_classes(fitted.predict_proba(FLATS), names or [0, 1])
        rows = records(fitted.booster_.feature_name())
        service.assert_predicts(rows, expected)
    service.refuse({**rows[1], "class": "unheard of"})
    properties = service.input_schema["properties"]
    assert properties["class"]["anyOf"][0]["enum"] == ["good", "grand", "simple"]
    assert properties["model"]["anyOf"][0]["enum"] == [1, 2, 5]


def test_lightgbm_without_names_predicts_a_value(tmp_path: Path) -> None:
    path, data = tmp_path / "model.txt", random.normal(size=(SIZE, 3))
    data[::5, 1] = np.nan
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(data, SCORES), 5)
    booster.save_model(path)
    expected = [{"value": value} for value in np.asarray(booster.predict(data)).tolist()]
    ArtefactService(path).assert_predicts(vectors(data), expected)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_with_categories_and_missing_values(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    for labels, names in ((TWO, None), (THREE, NAMES)):
        fitted = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1)
        fitted.fit(FLATS, labels).save_model(path)
        entry = {} if names is None else {"labels": names}
        service = ArtefactService(path, **entry)
        service.assert_predicts(records(), of_classes(fitted.predict_proba(FLATS), names or [0, 1]))
    service.refuse({**records()[1], "class": "unheard of"})
    assert service.input_schema["properties"]["model"]["anyOf"][0]["enum"] == [1, 2, 5]


def test_xgboost_predicts_by_the_best_iteration_and_several_values(tmp_path: Path) -> None:
    path, data = tmp_path / "model.ubj", random.normal(size=(SIZE, 3)).astype(np.float32)
    stopped = xgboost.XGBRegressor(n_estimators=50, early_stopping_rounds=2, n_jobs=1)
    stopped.fit(data, SCORES, eval_set=[(data[:20], -SCORES[:20])], verbose=False).save_model(path)
    assert stopped.best_iteration < 49
    expected = [{"value": value} for value in stopped.predict(data).tolist()]
    ArtefactService(path).assert_predicts(vectors(data), expected)
    several = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(
        data, np.column_stack([SCORES] * 2)
    )
    several.save_model(path)
    expected = [{"value": value} for value in several.predict(data).tolist()]
    ArtefactService(path).assert_predicts(vectors(data), expected)


def test_xgboost_without_categories_in_its_file_asks_for_them(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    fitted = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1)
    fitted.fit(FLATS[["class"]], TWO).save_model(path)
    content = json.loads(path.read_text())
    del content["learner"]["gradient_booster"]["model"]["cats"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"\{name: class, type: string, nullable: true\}"):
        ArtefactService(path)
    categories = FLATS["class"].cat.categories.tolist()
    service = ArtefactService(path, columns=[{"name": "class", "categories": categories}])
    expected = of_classes(fitted.predict_proba(FLATS[["class"]]), [0, 1])
    service.assert_predicts([{"class": row["class"]} for row in records()], expected)
