"""What fitted estimators of scikit-learn tell of their columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from models_api.exceptions import ArtefactError
from models_api.runtimes.estimator_columns import columns_of

FRAME = pd.DataFrame(
    {
        "size": [30.0, 45.0, None, 60.0],
        "rooms": [1, 2, 2, 3],
        "class": ["good", "simple", None, "good"],
        "note": ["free offer", "noon offer", "free lunch", "lunch noon"],
    }
)
TARGET = [1.0, 2.0, 3.0, 4.0]


def told(estimator: Any, data: Any = FRAME) -> dict[str, tuple[object, ...]]:
    """Fit, and return type, nullability and categories by column."""
    columns = columns_of(estimator.fit(data, TARGET))
    return {each.name: (each.type, each.nullable, *each.categories) for each in columns}


def by(*parts: tuple[Any, Any], remainder: str = "drop") -> ColumnTransformer:
    transformers = [(str(index), *part) for index, part in enumerate(parts)]
    return ColumnTransformer(transformers, remainder=remainder)


IMPUTED = make_pipeline(SimpleImputer(), StandardScaler())
ENCODED = make_pipeline(
    SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
)


def test_a_column_that_no_part_looks_at_may_be_anything() -> None:
    columns = by((IMPUTED, ["size"]), ("drop", ["rooms"]))
    found = told(make_pipeline(columns, LinearRegression()))
    assert found["size"] == ("number", True)
    assert {found[name] for name in ("rooms", "class", "note")} == {("any", True)}


def test_columns_may_be_chosen_by_slices_masks_positions_and_functions() -> None:
    chosen: list[Any] = [
        slice("size", "rooms"),
        slice(0, 2),
        [0, 1],
        np.array([True, True, False, False]),
        lambda frame: frame.select_dtypes("number").columns,
    ]
    for each in chosen:
        found = told(make_pipeline(by((IMPUTED, each)), LinearRegression()))
        assert (found["size"], found["rooms"]) == (("number", True), ("number", True)), each
        assert found["note"] == ("any", True)


def test_texts_that_go_to_a_vectorizer_are_strings_that_are_there() -> None:
    found = told(make_pipeline(by((CountVectorizer(), "note"), (IMPUTED, [0])), LinearRegression()))
    assert (found["note"], found["size"]) == (("string", False), ("number", True))


def test_what_an_imputer_fills_may_be_missing_and_has_the_type_of_what_follows() -> None:
    ordinal = make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder())
    alone = SimpleImputer(strategy="constant", fill_value="none")
    found = told(make_pipeline(by((ENCODED, ["class"]), (IMPUTED, ["size"])), LinearRegression()))
    assert found["class"] == ("string", True)
    found = told(make_pipeline(by((ordinal, ["class"])), LinearRegression()))
    assert found["class"] == ("string", True, "good", "simple")
    assert told(by((alone, ["class"])))["class"][1] is True


def test_an_encoder_that_has_met_missing_values_takes_them() -> None:
    found = told(by((OneHotEncoder(), ["class", "rooms"])))
    assert found["class"] == ("string", True, "good", "simple")
    assert found["rooms"][1] is False


def test_a_union_asks_for_what_each_of_its_parts_takes() -> None:
    numbers = FRAME[["size", "rooms"]].fillna(0)
    parts = FeatureUnion([("a", MinMaxScaler()), ("b", "drop"), ("c", SimpleImputer())])
    found = told(Pipeline([("u", parts), ("none", None), ("l", LinearRegression())]), numbers)
    assert [*found.values()] == [("number", False), ("number", False)]
    texts = make_pipeline(make_union(TfidfVectorizer(), CountVectorizer()), LinearRegression())
    assert told(texts, FRAME["note"]) == {"text": ("string", False)}


def test_a_search_tells_what_its_best_estimator_does() -> None:
    search = GridSearchCV(make_pipeline(by((IMPUTED, ["size"])), LinearRegression()), {}, cv=2)
    assert told(search)["size"] == ("number", True)
    texts = GridSearchCV(make_pipeline(CountVectorizer(), LinearRegression()), {}, cv=2)
    assert told(texts, FRAME["note"]) == {"text": ("string", False)}


def test_functions_of_numpy_take_numbers_and_others_are_unknown() -> None:
    identity, logarithm = FunctionTransformer(), FunctionTransformer(np.log1p)
    own = FunctionTransformer(lambda frame: frame)
    found = told(by((identity, ["rooms"]), (own, ["class"]), (logarithm, ["size"])))
    assert found["class"] == ("unknown", False)
    assert (found["rooms"][0], found["size"][0]) == ("number", "number")


class Silent(BaseEstimator):
    """Tells nothing."""

    def fit(self, data: Any, targets: Any = None) -> Any:
        return self


def test_one_that_does_not_tell_its_columns_is_refused() -> None:
    with pytest.raises(ArtefactError, match="the Silent does not tell how many columns it takes"):
        columns_of(Silent())
