"""Columns without objects: the same values as with them, or none."""

from __future__ import annotations

import math
from enum import Enum
from typing import Annotated, Any, Literal

import numpy
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, create_model
from pydantic_core import from_json

from models_api.exceptions import InvalidInput
from models_api.prediction.codec import serialise
from models_api.prediction.columns import ColumnsError, listed_columns
from models_api.prediction.plain_columns import validate_columns
from models_api.prediction.plain_columns import written_columns as written_lists
from tests.prediction.test_plain_rows import (
    AWKWARD_INPUTS,
    AWKWARD_OUTPUTS,
    NOT_PLAIN,
    PLAIN,
    VALUES,
    Base,
    Grade,
    Level,
    Species,
    Temperature,
    by_json,
    exactly,
    field,
)


def written_columns(predictions: Any, rows: int, schema: Any) -> Any:
    try:
        return written_lists(listed_columns(predictions, rows, schema), schema)
    except (ColumnsError, RuntimeError):
        return None


SCALARS = [bool, int, float, str, Species, Grade, Level, Temperature]


def column(values: list[Any], kind: type) -> Any:
    dtypes = {bool: "?", int: "i8", float: "f8", str: "O"}
    return numpy.array(values, dtype=dtypes[kind])


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("type_", [*PLAIN, *NOT_PLAIN], ids=str)
def test_values_are_those_of_the_objects_that_json_gives(type_: Any, kind: type) -> None:
    schema = field(type_)
    for first in VALUES[kind]:
        for second in VALUES[kind]:
            given = column([first, second], kind)
            found = validate_columns({"value": given}, {"value": kind}, schema)
            if found is not None:
                rows = by_json([{"value": value} for value in given.tolist()], schema)
                values = found["value"]
                listed = values if isinstance(values, list) else values.tolist()
                assert exactly(listed) == exactly([row.value for row in rows])


@pytest.mark.parametrize(
    ("type_", "kind", "values", "expected"),
    [
        (float, float, [0.5, -0.0], [0.5, -0.0]),
        (float, int, [1, 2], [1.0, 2.0]),
        (int, int, [1, -(2**63)], [1, -(2**63)]),
        (bool, bool, [True, False], [True, False]),
        (str, str, ["é", "\x00"], ["é", "\x00"]),
        (Annotated[str, StringConstraints(strip_whitespace=True)], str, [" a ", "b"], ["a", "b"]),
        (Species, str, ["setosa", "virginica"], [Species.SETOSA, Species.VIRGINICA]),
        (Level, int, [1, 0], [Level.HIGH, Level.LOW]),
        (Temperature, float, [0.5, 20.0], [Temperature.COLD, Temperature.WARM]),
        (Annotated[float, Field(gt=0)], float, [0.5, 1.0], [0.5, 1.0]),
        (Annotated[int, Field(strict=True)], int, [1, 2], [1, 2]),
        (float | None, float, [1.0, 2.0], [1.0, 2.0]),
        (Literal["a", "b"], str, ["a", "b"], ["a", "b"]),
        (Literal[1, 2, None], int, [1, 2], [1, 2]),
        (Species | None, str, ["setosa", "virginica"], [Species.SETOSA, Species.VIRGINICA]),
        (list[float], float, [[0.5, 1.0], [1.5, 2.0]], [[0.5, 1.0], [1.5, 2.0]]),
        (list[float] | None, int, [[1], [2]], [[1.0], [2.0]]),
        (list[list[int]], int, [[[1, 2]], [[3, 4]]], [[[1, 2]], [[3, 4]]]),
        (list[Species], str, [["setosa"], ["setosa"]], [[Species.SETOSA], [Species.SETOSA]]),
    ],
)
def test_plain_values_need_no_objects(
    type_: Any, kind: type, values: list[Any], expected: list[Any]
) -> None:
    given = column(values, kind)
    found = validate_columns({"value": given}, {"value": kind}, field(type_))
    assert found is not None
    listed = found["value"] if isinstance(found["value"], list) else found["value"].tolist()
    assert exactly(listed) == exactly(expected)


def test_an_array_that_holds_what_the_field_would_hold_is_not_made_anew() -> None:
    given = column([0.5, 1.5], float)
    found = validate_columns({"value": given}, {"value": float}, field(float))
    assert found is not None
    assert found["value"] is given


@pytest.mark.parametrize(
    ("type_", "kind", "values"),
    [
        (Annotated[float, Field(gt=0)], float, [1.0, 0.0]),
        (Annotated[float, Field(gt=0)], int, [1, 0]),
        (Annotated[str, Field(pattern="^a$")], str, ["a", "b"]),
        (Species, str, ["setosa", "oak"]),
        (Level, int, [0, 2]),
        (int, float, [1.0, 2.0]),
        (int, bool, [True, False]),
        (float, str, ["1", "2"]),
        (float, None, [1.0, 2.0]),
        (Literal["a", "b"], str, ["a", "c"]),
        (Literal[1, 2], int, [1, 3]),
        (Literal[1, 2], bool, [True, True]),
        (Annotated[float, Field(gt=0)] | None, float, [1.0, 0.0]),
        (list[float], float, [1.0, 2.0]),
        (list[float], float, [[[1.0]], [[2.0]]]),
        (list[Annotated[float, Field(gt=0)]], float, [[1.0], [0.0]]),
        (Annotated[list[float], Field(min_length=2)], float, [[1.0], [2.0]]),
        (list[Species], str, [["setosa"], ["oak"]]),
    ],
)
def test_what_does_not_fit_or_is_not_plain_needs_rows(
    type_: Any, kind: type | None, values: list[Any]
) -> None:
    given = column(values, kind or float)
    assert validate_columns({"value": given}, {"value": kind}, field(type_)) is None


class Hooked(BaseModel):
    value: float = 0.5

    def model_post_init(self, context: Any) -> None:
        if self.value > 1:
            raise ValueError("too much")


class WithPrivate(BaseModel):
    value: float = 0.5
    _made: int = PrivateAttr(default=0)


class Nothing(BaseModel):
    pass


@pytest.mark.parametrize("schema", [*AWKWARD_INPUTS, Hooked, WithPrivate])
def test_a_schema_that_does_more_needs_rows(schema: type[BaseModel]) -> None:
    given = {"value": column([0.5, 0.5], float)}
    assert validate_columns(given, {"value": float}, schema) is None


@pytest.mark.parametrize("make", [*AWKWARD_OUTPUTS, Hooked, WithPrivate, Nothing])
def test_predictions_that_are_written_otherwise_need_rows(make: Any) -> None:
    schema = type(make())
    assert written_columns({"value": [0.5, 0.5]}, 2, schema) is None
    assert written_columns({}, 2, schema) is None


@pytest.mark.parametrize(
    "names", [[], ["a"], ["a", "b", "c"], ["first", "b"]], ids=["none", "some", "more", "by name"]
)
def test_other_columns_than_the_schemas_need_rows(names: list[str]) -> None:
    schema = create_model("Schema", first=(float, Field(alias="a")), b=(float, 1.0))
    columns = {name: column([0.5, 0.5], float) for name in names}
    assert validate_columns(columns, dict.fromkeys(names, float), schema) is None


def test_columns_go_by_alias_and_come_by_name() -> None:
    class Schema(BaseModel):
        first: float = Field(alias="a")
        second: float = Field(validation_alias="b", serialization_alias="c")
        third: float = 0.5

    given = {key: column([0.5, 1.5], float) for key in ("a", "b", "third")}
    found = validate_columns(given, dict.fromkeys(given, float), Schema)
    assert found is not None
    assert [*found] == ["first", "second", "third"]
    predictions = {"first": [1.0], "second": [2.0], "third": [3.0]}
    assert written_columns(predictions, 1, Schema) == {"a": [1.0], "c": [2.0], "third": [3.0]}


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("type_", SCALARS)
def test_a_strict_schema_takes_what_it_takes_in_json(type_: Any, is_strict: bool) -> None:
    schema = create_model(
        "Schema", __config__=ConfigDict(strict=is_strict), value=(type_, ...), other=(type_, ...)
    )
    for kind, values in VALUES.items():
        given = dict.fromkeys(("value", "other"), column(values, kind))
        found = validate_columns(given, dict.fromkeys(given, kind), schema)
        if found is not None:
            by_json([{"value": value, "other": value} for value in values], schema)
    if is_strict and not issubclass(type_, Enum):
        good = column(VALUES[type_], type_)
        given = {"value": good, "other": good}
        assert validate_columns(given, dict.fromkeys(given, type_), schema) is not None


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize("type_", [*PLAIN, *NOT_PLAIN], ids=str)
def test_what_is_written_is_what_json_has_for_the_same_values(type_: Any, is_strict: bool) -> None:
    schema = create_model("Schema", __config__=ConfigDict(strict=is_strict), value=(type_, ...))
    values = [value for listed in VALUES.values() for value in listed]
    unlikely = [None, math.nan, math.inf, -math.inf, 2**63, 10**30, "\ud800", b"a", [1.0], 1 + 0j]
    for value in [*values, *unlikely, *Species, *Grade, *Level, *Temperature]:
        found = written_columns({"value": [value, value]}, 2, schema)
        if found is not None:
            expected = from_json(serialise({"value": value}, schema))["value"]
            assert exactly(found["value"]) == exactly([expected, expected]), value


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        (float, numpy.array([0.5, 1.5]), [0.5, 1.5]),
        (float, numpy.array([0.5, 1.5], dtype="f4"), [0.5, 1.5]),
        (float, [numpy.float64(0.5), numpy.float64(1.5)], [0.5, 1.5]),
        (float, (1, 2), [1.0, 2.0]),
        (float, [math.nan, 1.0], [None, 1.0]),
        (float, numpy.array([numpy.inf, -numpy.inf]), [None, None]),
        (int, range(2), [0, 1]),
        (int, numpy.array([1.0, 2.0]), [1, 2]),
        (bool, numpy.array([True, False]), [True, False]),
        (str, numpy.array(["a", "é"]), ["a", "é"]),
        (Species, numpy.array(["setosa", "virginica"]), ["setosa", "virginica"]),
        (Species, [Species.SETOSA, "virginica"], ["setosa", "virginica"]),
        (Species, numpy.array(list(Species), dtype=object), ["setosa", "virginica"]),
        (Grade, list(Grade), ["good", "bad"]),
        (Level, numpy.array([1, 0]), [1, 0]),
        (Temperature, [0.5, 20.0], [0.5, 20.0]),
    ],
)
def test_columns_may_be_arrays_or_sequences_of_what_the_field_takes(
    type_: Any, values: Any, expected: list[Any]
) -> None:
    found = written_columns({"value": values}, 2, field(type_))
    assert found is not None
    assert exactly(found["value"]) == exactly(expected)


class Hostile:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "predictions",
    [
        None,
        [("value", [0.5, 0.5])],
        {},
        {"value": [0.5]},
        {"value": [0.5] * 3},
        {"value": []},
        {"value": numpy.zeros((2, 1))},
        {"value": numpy.float64(0.5)},
        {"value": "12"},
        {"value": {0.5: 1, 1.5: 2}},
        {"value": {0.5, 1.5}},
        {"value": iter([0.5, 1.5])},
        {"value": [0.5, "x"]},
        {"value": [0.5, None]},
        {"value": Hostile()},
        {"value": [Hostile(), Hostile()]},
        {"value": [0.5, 0.5], "other": [1, 1]},
        {"other": [0.5, 0.5]},
    ],
)
def test_predictions_that_are_no_such_columns_need_rows(predictions: Any) -> None:
    assert written_columns(predictions, 2, Base) is None


def test_a_wrong_value_is_told_by_the_rows() -> None:
    schema = field(Annotated[float, Field(gt=0)])
    given = {"value": column([1.0, 0.0], float)}
    assert validate_columns(given, {"value": float}, schema) is None
    with pytest.raises(InvalidInput, match="greater than 0"):
        by_json([{"value": 1.0}, {"value": 0.0}], schema)
