"""Artefacts of CatBoost predict over the service what CatBoost predicts in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from models_api.exceptions import ConfigurationError
from tests.runtimes.libraries import skip_without
from tests.runtimes.serving import ArtefactService, Row

skip_without("catboost")

import catboost  # noqa: E402

random = np.random.default_rng(0)
SIZE = 300
FLATS = pd.DataFrame(
    {
        "size (m²)": random.uniform(20, 120, SIZE),
        "class": random.choice(["simple", "good", "grand"], SIZE).astype(object),
        "rooms": random.integers(1, 6, SIZE),
        "model_city": random.choice(["Bonn", "Köln"], SIZE).astype(object),
    }
)
FLATS.loc[::7, "size (m²)"] = np.nan
SCORES = FLATS["size (m²)"].fillna(60).to_numpy() + random.normal(0, 10, SIZE)
NAMES = np.array(["cheap", "fair", "dear"])
THREE = np.digitize(SCORES, [50, 80])
OPTIONS: dict[str, Any] = {
    "iterations": 5,
    "depth": 3,
    "verbose": False,
    "thread_count": 1,
    "allow_writing_files": False,
}
CATEGORIES = ["class", "rooms", "model_city"]
INTEGERS = [{"name": "rooms", "type": "integer"}]


def save(model: Any, folder: Path) -> Path:
    path = folder / "model.cbm"
    model.save_model(path)
    return path


def records(frame: pd.DataFrame) -> list[Row]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def vectors(rows: np.ndarray) -> list[Row]:
    return [{"features": [None if np.isnan(v) else v for v in row]} for row in rows.tolist()]


def of_classes(model: Any, data: object, names: Any = None) -> list[dict[str, Any]]:
    known = model.classes_.tolist()
    keys = [str(name).lower() if isinstance(name, bool) else str(name) for name in names or known]
    labels = [
        (names or known)[known.index(label)] for label in model.predict(data).ravel().tolist()
    ]
    rows = model.predict_proba(data).tolist()
    return [
        {"label": label, "probabilities": dict(zip(keys, row, strict=True))}
        for label, row in zip(labels, rows, strict=True)
    ]


@pytest.mark.long
@pytest.mark.parametrize("labels", [NAMES[THREE], THREE, THREE > 0], ids=["text", "int", "bool"])
def test_categories_by_name_missing_values_and_classes(labels: Any, tmp_path: Path) -> None:
    fitted = catboost.CatBoostClassifier(cat_features=CATEGORIES, **OPTIONS).fit(FLATS, labels)
    service = ArtefactService(save(fitted, tmp_path), columns=INTEGERS)
    service.assert_predicts(records(FLATS), of_classes(fitted, FLATS))
    properties = service.input_schema["properties"]
    assert [each["type"] for each in properties["size (m²)"]["anyOf"]] == ["number", "null"]
    assert properties["class"]["type"] == "string"
    service.refuse({**records(FLATS)[1], "class": None})
    assert service.predict({**records(FLATS)[1], "class": "unheard of"})


@pytest.mark.long
def test_a_category_that_is_a_number_is_the_same_as_text(tmp_path: Path) -> None:
    fitted = catboost.CatBoostClassifier(cat_features=CATEGORIES, **OPTIONS).fit(FLATS, THREE)
    service = ArtefactService(save(fitted, tmp_path), labels=NAMES.tolist())
    rows = records(FLATS.assign(rooms=FLATS["rooms"].astype(str)))
    service.assert_predicts(rows, of_classes(fitted, FLATS, NAMES.tolist()))


def test_a_category_that_the_configuration_lets_be_missing_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    fitted = catboost.CatBoostClassifier(cat_features=CATEGORIES, **OPTIONS).fit(FLATS, THREE)
    columns = [*INTEGERS, {"name": "class", "nullable": True}]
    service = ArtefactService(save(fitted, tmp_path), columns=columns)
    answer = service.refuse({**records(FLATS)[1], "class": None})
    assert "may not be missing" in answer["messages"][0]


@pytest.mark.long
def test_the_threshold_of_a_classifier_is_heeded(tmp_path: Path) -> None:
    fitted = catboost.CatBoostClassifier(**OPTIONS).fit(FLATS[["rooms"]], THREE > 0)
    fitted.set_probability_threshold(0.8)
    expected = of_classes(fitted, FLATS[["rooms"]])
    assert any(e["probabilities"]["true"] > 0.5 and not e["label"] for e in expected)
    ArtefactService(save(fitted, tmp_path)).assert_predicts(records(FLATS[["rooms"]]), expected)


@pytest.mark.long
@pytest.mark.parametrize(
    "loss", ["RMSE", "Poisson", "MultiRMSE", "RMSEWithUncertainty", "Tweedie:variance_power=1.5"]
)
def test_regressors_predict_what_their_loss_function_is_for(loss: str, tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 3))
    data[::5, 1] = np.nan
    targets = np.column_stack([SCORES] * 2) if loss == "MultiRMSE" else np.abs(SCORES)
    fitted = catboost.CatBoostRegressor(loss_function=loss, **OPTIONS).fit(data, targets)
    expected = [{"value": value} for value in fitted.predict(data).tolist()]
    ArtefactService(save(fitted, tmp_path)).assert_predicts(vectors(data), expected)


@pytest.mark.long
def test_a_ranker_predicts_a_value(tmp_path: Path) -> None:
    data = FLATS[["size (m²)", "rooms"]]
    groups = np.arange(SIZE) // 10
    fitted = catboost.CatBoostRanker(**OPTIONS).fit(data, THREE, group_id=groups)
    expected = [{"value": value} for value in fitted.predict(data).tolist()]
    ArtefactService(save(fitted, tmp_path)).assert_predicts(records(data), expected)


@pytest.mark.long
def test_several_labels_at_once_are_a_list(tmp_path: Path) -> None:
    data, targets = random.normal(size=(SIZE, 2)), random.integers(0, 2, (SIZE, 3))
    fitted = catboost.CatBoostClassifier(loss_function="MultiLogloss", **OPTIONS)
    fitted.fit(data, targets)
    expected = [
        {"label": label, "probabilities": dict(zip("012", row, strict=True))}
        for label, row in zip(
            fitted.predict(data).tolist(), fitted.predict_proba(data).tolist(), strict=True
        )
    ]
    ArtefactService(save(fitted, tmp_path)).assert_predicts(vectors(data), expected)


@pytest.mark.long
def test_texts_are_taken_and_embeddings_are_not(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": random.choice(["free money now", "see you at noon"], SIZE)})
    fitted = catboost.CatBoostClassifier(text_features=["text"], **OPTIONS).fit(frame, THREE)
    service = ArtefactService(save(fitted, tmp_path))
    service.assert_predicts(records(frame), of_classes(fitted, frame))
    frame = pd.DataFrame({"vector": [list(row) for row in random.random((SIZE, 4))]})
    fitted = catboost.CatBoostClassifier(embedding_features=["vector"], **OPTIONS)
    with pytest.raises(ConfigurationError, match="does not tell how long they are"):
        ArtefactService(save(fitted.fit(frame, THREE), tmp_path))
