"""Artefacts of scikit-learn predict over the service what they predict in a process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from models_api.exceptions import ConfigurationError
from models_api.runtimes.schemas import key_of
from tests.runtimes.serving import ArtefactService

random = np.random.default_rng(0)
SIZE = 300
FLATS = pd.DataFrame(
    {
        "Size (m²)": random.uniform(20, 120, SIZE),
        "class": random.choice(["simple", "good", "grand"], SIZE).astype(object),
        "built.in": random.integers(1900, 2020, SIZE),
        "balcony": random.choice([True, False], SIZE),
        "model_city": random.choice(["Bonn", "Köln"], SIZE).astype(object),
    }
)
FLATS.loc[::7, "Size (m²)"] = np.nan
FLATS.loc[::11, "class"] = np.nan
IS_DEAR = (FLATS["built.in"] + random.normal(0, 30, SIZE) > 1960).to_numpy()
CATEGORIES = ["simple", "good", "grand"]


def mixed() -> ColumnTransformer:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["Size (m²)"]),
        (StandardScaler(), ["built.in"]),
        (
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="error")
            ),
            ["class"],
        ),
        (OneHotEncoder(handle_unknown="ignore"), ["model_city"]),
        remainder="passthrough",
    )


def serve(estimator: object, folder: Path, **entry: object) -> ArtefactService:
    path = folder / "model.joblib"
    joblib.dump(estimator, path)
    return ArtefactService(path, trusted=True, **entry)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def of_classes(estimator: Any, data: object) -> list[dict[str, Any]]:
    keys = [key_of(label) for label in estimator.classes_.tolist()]
    labels, rows = estimator.predict(data).tolist(), estimator.predict_proba(data).tolist()
    return [
        {"label": label, "probabilities": dict(zip(keys, row, strict=True))}
        for label, row in zip(labels, rows, strict=True)
    ]


def vectors(rows: np.ndarray) -> list[dict[str, Any]]:
    return [{"features": row} for row in rows.tolist()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("last", "labels"),
    [
        (LogisticRegression(), IS_DEAR),
        (RandomForestClassifier(5, random_state=0, n_jobs=-1), IS_DEAR.astype(int)),
        (HistGradientBoostingClassifier(max_iter=3), np.where(IS_DEAR, "dear", "cheap")),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_pipeline_of_mixed_columns_with_missing_values(
    last: Any, labels: Sequence[object], tmp_path: Path
) -> None:
    pipeline = make_pipeline(mixed(), last).fit(FLATS, labels)
    service = serve(pipeline, tmp_path)
    service.assert_predicts(records(FLATS), of_classes(pipeline, FLATS))


def test_what_a_pipeline_tells_of_its_columns_is_in_the_schema(tmp_path: Path) -> None:
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(FLATS, IS_DEAR)
    service = serve(pipeline, tmp_path)
    properties = service.input_schema["properties"]
    assert list(properties) == list(FLATS)
    assert service.input_schema["required"] == list(FLATS)
    types = {name: each.get("anyOf", [each]) for name, each in properties.items()}
    assert [each["type"] for each in types["Size (m²)"]] == ["number", "null"]
    assert types["class"][0]["enum"] == sorted(CATEGORIES)
    assert types["class"][1] == {"type": "null"}
    assert [each["type"] for each in types["built.in"]] == ["number"]
    assert [each["type"] for each in types["balcony"]] == ["number"]
    assert types["model_city"][0]["type"] == "string"
    assert "enum" not in types["model_city"][0]
    assert service.output_schema["properties"]["label"]["enum"] == [False, True]


def test_what_the_pipeline_would_refuse_is_refused_with_its_reason(tmp_path: Path) -> None:
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(FLATS, IS_DEAR)
    service = serve(pipeline, tmp_path)
    row = records(FLATS)[1]
    assert service.predict({**row, "model_city": "Ulm"})["label"] in (True, False)
    for name, value in {"class": "best", "built.in": None, "Size (m²)": "large"}.items():
        assert service.refuse({**row, name: value})["type"] == "ValidationError"


def test_a_pipeline_on_texts_takes_one_text(tmp_path: Path) -> None:
    texts = ["free money", "cheap offer", "see you at noon", "lunch tomorrow"] * 5
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    pipeline.fit(texts, ["spam", "spam", "ham", "ham"] * 5)
    service = serve(pipeline, tmp_path)
    service.assert_predicts([{"text": text} for text in texts], of_classes(pipeline, texts))


def test_an_estimator_fitted_on_an_array_takes_a_vector_or_named_columns(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 3))
    forest = RandomForestClassifier(5, random_state=0).fit(data, random.integers(0, 3, SIZE))
    service = serve(forest, tmp_path)
    service.assert_predicts(vectors(data), of_classes(forest, data))
    named = serve(forest, tmp_path, columns=["length", "model_x", "if"], labels=["a", "b", "c"])
    rows = [dict(zip(("length", "model_x", "if"), row, strict=True)) for row in data.tolist()]
    expected = [
        {
            "label": "abc"[each["label"]],
            "probabilities": dict(zip("abc", each["probabilities"].values(), strict=True)),
        }
        for each in of_classes(forest, data)
    ]
    named.assert_predicts(rows, expected)


def test_regressors_predict_a_value_or_several(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    for targets in (data @ [1.0, 2.0], data @ np.ones((2, 3))):
        regression = LinearRegression().fit(data, targets)
        expected = [{"value": value} for value in regression.predict(data).tolist()]
        service = serve(regression, tmp_path)
        service.assert_predicts(
            vectors(data[:1]), [{"value": regression.predict(data[:1])[0].tolist()}]
        )
        found = service.predict_batch(vectors(data))
        assert np.allclose(
            [each["value"] for each in found], [each["value"] for each in expected], atol=1e-12
        )


@pytest.mark.long
def test_a_search_a_clustering_and_a_classifier_without_probabilities(tmp_path: Path) -> None:
    search = GridSearchCV(make_pipeline(mixed(), LogisticRegression()), {}, cv=2)
    search.fit(FLATS, IS_DEAR)
    serve(search, tmp_path).assert_predicts(records(FLATS), of_classes(search, FLATS))
    data = random.normal(size=(SIZE, 2))
    clusters = KMeans(3, random_state=0, n_init=1).fit(data)
    expected = [{"value": value} for value in clusters.predict(data).tolist()]
    serve(clusters, tmp_path).assert_predicts(vectors(data), expected)
    machine = SVC().fit(data, np.where(data[:, 0] > 0, "right", "left"))
    expected = [{"label": label} for label in machine.predict(data).tolist()]
    serve(machine, tmp_path).assert_predicts(vectors(data), expected)


def test_a_classifier_of_several_outputs_predicts_a_label_for_each(tmp_path: Path) -> None:
    data = random.normal(size=(SIZE, 2))
    classifier = MultiOutputClassifier(LogisticRegression()).fit(data, data > 0)
    service = serve(classifier, tmp_path)
    expected = [{"label": row} for row in classifier.predict(data).tolist()]
    service.assert_predicts(vectors(data), expected)


def test_columns_of_unknown_types_are_asked_for_and_then_taken(tmp_path: Path) -> None:
    frame = FLATS[["class", "built.in"]].fillna("simple")
    columns = make_column_transformer(
        (FunctionTransformer(pd.get_dummies), ["class"]), remainder="passthrough"
    )
    frame = frame.assign(**{"class": frame["class"].map(CATEGORIES.index)})
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, IS_DEAR)
    with pytest.raises(ConfigurationError) as caught:
        serve(pipeline, tmp_path)
    (problem,) = caught.value.problems
    assert problem.key_path == "models[0].columns"
    assert "does not say of which type these columns are: class" in problem.message
    assert (
        "columns:\n      - {name: class, type: string}\n      - {name: built.in, type: number}"
        in (problem.hint)
    )


@pytest.mark.parametrize("content", [{"model": 1}, StandardScaler(), LogisticRegression()])
def test_what_does_not_predict_is_said_to(content: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"which does not predict|is not fitted"):
        serve(content, tmp_path)
