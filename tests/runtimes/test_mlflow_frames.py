"""Models of MLflow get frames and arrays of the types that they were saved with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from models_api.runtimes.mlflow_frames import (
    UnexpectedResult,
    array_of,
    frame_of,
    maker_of,
    results_of,
)
from models_api.runtimes.signature import Output


def objects(*values: object) -> Any:
    return np.fromiter(values, object, len(values))


@pytest.mark.parametrize(
    ("type_", "values", "dtype", "expected"),
    [
        ("integer", np.array([1, 2]), "int32", [1, 2]),
        ("long", np.array([1, 2]), "int64", [1, 2]),
        ("float", np.array([1.5, np.nan]), "float32", [1.5, None]),
        ("double", np.array([1, 2]), "float64", [1.0, 2.0]),
        ("double", objects(1.5, None), "float64", [1.5, None]),
        ("boolean", objects(True, None), "object", [True, None]),
        ("string", objects("a", None), "object", ["a", None]),
        ("datetime", objects(datetime(2026, 1, 2, tzinfo=UTC)), "datetime64[ns]", ["2026-01-02"]),
        # Not what the signature says, by the configuration: MLflow is to refuse them.
        ("long", np.array([1.5, 2.0]), "float64", [1.5, 2.0]),
        ("integer", np.array([2**40, 1]), "int64", [2**40, 1]),
        ("long", objects(1, None), "object", [1, None]),
    ],
)
def test_a_column_has_the_type_of_the_signature(
    type_: str, values: Any, dtype: str, expected: list[object]
) -> None:
    frame = maker_of([{"name": "a", "type": type_}])({"a": values})
    assert frame["a"].dtype == dtype
    for found, wanted in zip(frame["a"], expected, strict=True):
        assert pd.isna(found) if wanted is None else found == pd.Series([wanted], dtype=dtype)[0]


def test_columns_without_names_are_numbered() -> None:
    make = maker_of([{"type": "double"}, {"type": "integer"}])
    together = make({"features": np.array([[1.0, 2.0], [3.0, 4.0]])})
    assert list(together.columns) == [0, 1]
    apart = make({"a": np.array([1.0]), "b": np.array([2])})
    assert apart.to_dict("records") == [{0: 1.0, 1: 2}]
    assert apart[1].dtype == "int32"


def tensor(dtype: str, *shape: int, **more: object) -> dict[str, object]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}, **more}


def test_tensors_have_type_and_rank_of_the_signature() -> None:
    data = np.array([[1.0, 2.0], [3.0, 4.0]])
    whole = maker_of([tensor("float32", -1, 2)])({"features": data})
    assert (whole.dtype, whole.tolist()) == ("float32", data.tolist())
    named = maker_of([tensor("float32", -1, 2)])({"a": data[:, 0], "b": data[:, 1]})
    assert named.tolist() == data.tolist()
    (flat,) = maker_of([tensor("int64", -1, name="n")])({"n": np.array([1, 2])}).values()
    assert flat.shape == (2,)
    both = maker_of([tensor("str", -1, name="t"), tensor("float64", -1, 2, name="n")])(
        {"t": objects("a", "b"), "n": data}
    )
    assert both["t"].dtype.kind == "U"
    assert both["n"].shape == (2, 2)


def test_without_a_signature_columns_go_as_they_are() -> None:
    columns = {"a": np.array([1.0]), "b": objects(None), "c": np.array([[1.0, 2.0]])}
    frame = frame_of(columns)
    assert frame["a"].dtype == "float64"
    assert pd.isna(frame["b"][0])
    assert list(frame["c"][0]) == [1.0, 2.0]
    assert array_of({"a": np.array([1.0]), "b": np.array([2.0])}).tolist() == [[1.0, 2.0]]


VALUE = Output("value", "any")


@pytest.mark.parametrize(
    ("found", "outputs", "expected"),
    [
        (np.array([1, 2]), [Output("value", "number")], {"value": [1.0, 2.0]}),
        (np.array([[1], [2]]), [Output("value", "integer")], {"value": [1, 2]}),
        (np.array([1.0, 2.0]), [Output("value", "integer")], {"value": [1, 2]}),
        ([1, 2], [Output("value", "integer")], {"value": [1, 2]}),
        (pd.Series(["a", "b"]), [Output("value", "string")], {"value": ["a", "b"]}),
        (pd.DataFrame({"x": [1, 2]}), [Output("value", "number")], {"value": [1.0, 2.0]}),
        (pd.DataFrame({"x": [1, 2]}), [VALUE], {"value": [{"x": 1}, {"x": 2}]}),
        (
            pd.DataFrame({"x": [1.5, None], "y": [True, False]}),
            [Output("x", "number", nullable=True), Output("y", "boolean")],
            {"x": [1.5, None], "y": [True, False]},
        ),
        (
            pd.DataFrame({"x": [1.0, None]}),
            [Output("x", "integer", nullable=True)],
            {"x": [1, None]},
        ),
        (
            np.array([[0.25, 0.75], [0.5, 0.5]]),
            [Output("value", "number", (2,))],
            {"value": [[0.25, 0.75], [0.5, 0.5]]},
        ),
        (
            pd.DataFrame({0: [0.25, 0.5], 1: [0.75, 0.5]}),
            [Output("value", "number", (2,))],
            {"value": [[0.25, 0.75], [0.5, 0.5]]},
        ),
        (
            np.array([[1, 2], [3, 4]]),
            [Output("x", "number"), Output("y", "integer")],
            {"x": [1.0, 3.0], "y": [2, 4]},
        ),
        (
            {"label": np.array([1, 2]), "p": [0.5, 0.25]},
            [VALUE],
            {"value": [{"label": 1, "p": 0.5}, {"label": 2, "p": 0.25}]},
        ),
        ({"x": np.array([1, 2]), "more": [0]}, [Output("x", "integer")], {"x": [1, 2]}),
        (["a", None], [Output("value", "string", nullable=True)], {"value": ["a", None]}),
    ],
)
def test_what_a_model_returns_becomes_a_value_for_each_row(
    found: Any, outputs: list[Output], expected: dict[str, list[object]]
) -> None:
    assert results_of(found, outputs, 2) == expected


@pytest.mark.parametrize(
    ("found", "outputs", "said"),
    [
        (np.array([1.0]), [Output("value", "number")], "1 values for value, and got 2 rows"),
        (np.array([[1.0, 2.0]] * 2), [Output("value", "number")], "the shape [2, 2]"),
        (np.array([1.5, 2.0]), [Output("value", "integer")], "is an integer by its signature"),
        ({"other": [1, 2]}, [Output("x", "number")], "a dict of other, not columns named x"),
        (pd.DataFrame({"a": [1]}), [Output("x", "any"), Output("y", "any")], "of a, not columns"),
        ([1, 2], [Output("x", "any"), Output("y", "any")], "a list, not columns named x, y"),
    ],
)
def test_what_does_not_fit_the_signature_says_how_to_mend_it(
    found: Any, outputs: list[Output], said: str
) -> None:
    with pytest.raises(UnexpectedResult) as caught:
        results_of(found, outputs, 2)
    assert said in str(caught.value)
    assert "set_signature" in str(caught.value)
