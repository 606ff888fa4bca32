"""Values of numpy and pandas in predictions are written by what they mean, or not at all."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainSerializer,
    RootModel,
    ValidationError,
    create_model,
    field_serializer,
)
from pydantic_core import PydanticSerializationError

from models_api.prediction.codec import serialise, serialise_together
from tests.prediction.test_plain_columns import written_columns

LOUD = (ValidationError, PydanticSerializationError)
NOON = datetime(2026, 1, 2, 12)  # noqa: DTZ001 (numpy's have no time zone)
UNITS = ["h", "m", "s", "ms", "us", "ns"]


class Named(NamedTuple):
    x: Any


@dataclass
class Held:
    x: Any


def ways(type_: Any, value: object) -> list[Any]:
    """Return predictions that hold the value, each made in another way, behind their schema."""
    schema = create_model("Schema", x=(type_, ...))
    makers: list[Any] = [dict, schema.model_construct, Held, Named, SimpleNamespace]
    return [schema, *(make(x=value) for make in makers)]


def answers(type_: Any, value: object) -> list[object]:
    """Return what each way gives; errors as the name of what they are."""
    schema, *predictions = ways(type_, value)
    found: list[object] = []
    for prediction in predictions:
        try:
            found.append(json.loads(serialise(prediction, schema))["x"])
        except LOUD:
            found.append("loud")
    return found


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of numpy 2.5, which still has it
    GENERIC = np.timedelta64(1)
DURATIONS = [
    *(np.timedelta64(timedelta(hours=5)).astype(f"m8[{unit}]") for unit in UNITS),
    np.timedelta64(300, "60s"),  # type: ignore[call-overload]
    np.array(np.timedelta64(5, "h")),
    pd.Timedelta(5, "h"),
    pd.Timedelta(5, "h").as_unit("ns"),
    pd.Timedelta(5, "h").as_unit("s"),
]
MOMENTS = [
    *(np.datetime64(NOON).astype(f"M8[{unit}]") for unit in UNITS),
    np.array(NOON, dtype="M8[ns]"),
    pd.Timestamp(NOON),
    pd.Timestamp(NOON).as_unit("s"),
]


@pytest.mark.parametrize("type_", [timedelta, timedelta | None, Any, timedelta | str])
@pytest.mark.parametrize("value", DURATIONS, ids=repr)
def test_a_duration_is_a_duration_in_every_unit(type_: Any, value: object) -> None:
    assert answers(type_, value) == ["PT5H"] * 5


@pytest.mark.parametrize("type_", [datetime, datetime | None, Any])
@pytest.mark.parametrize("value", MOMENTS, ids=repr)
def test_a_date_is_a_date_in_every_unit(type_: Any, value: object) -> None:
    assert answers(type_, value) == ["2026-01-02T12:00:00"] * 5


@pytest.mark.parametrize("value", DURATIONS + MOMENTS, ids=repr)
@pytest.mark.parametrize("type_", [int, float, bool, float | None, int | float, complex])
def test_no_date_or_duration_is_a_number(type_: Any, value: object) -> None:
    assert answers(type_, value) == ["loud"] * 5


@pytest.mark.parametrize("unit", ["Y", "M", "W", "D", *UNITS, "25s", "2W"])
@pytest.mark.parametrize("type_", [date, Any])
def test_days_are_days(type_: Any, unit: str) -> None:
    value: Any = np.datetime64("2026-01-01", unit)  # type: ignore[call-overload]
    expected = "2026-01-01"
    if type_ is Any and unit not in {"Y", "M", "W", "D", "2W"}:
        expected = str(value.astype("M8[s]"))
    assert answers(type_, value) == [expected] * 5


@pytest.mark.parametrize(
    "value",
    [
        np.timedelta64(1, "ns"),
        np.timedelta64(1, "as"),
        np.timedelta64(1, "Y"),
        np.timedelta64(1, "M"),
        GENERIC,
        np.timedelta64(2**62, "s"),
        np.datetime64("2026-01-01T00:00:00.000000001"),
        np.datetime64(1, "fs"),
        np.datetime64("0000-01-01"),
        np.datetime64("10000-01-01"),
        np.datetime64("12000-01-01", "s"),
        np.datetime64(2**62, "D"),
        np.longdouble("1e400"),
        np.clongdouble(np.longdouble("1e400")),
        pd.Timestamp("2026-01-01T00:00:00.000000001"),
        pd.Timestamp(np.datetime64("12000-01-01", "s")),
        pd.Timedelta(1, "ns"),
        pd.Timedelta(np.timedelta64(2**60, "s")),
        pd.Period("2026"),
        pd.Interval(1, 2),
    ],
    ids=repr,
)
@pytest.mark.parametrize("type_", [datetime, timedelta, date, float, int, str, Any, Any | None])
def test_what_has_no_exact_json_is_an_error(type_: Any, value: object) -> None:
    assert answers(type_, value) == ["loud"] * 5


MISSING = [pd.NaT, pd.NA, np.datetime64("NaT", "s"), np.timedelta64("NaT", "ns"), math.nan, np.nan]


@pytest.mark.parametrize("value", MISSING, ids=repr)
@pytest.mark.parametrize(
    "kind", [float, int, str, bool, datetime, timedelta, list[int], FiniteFloat]
)
def test_what_is_missing_is_null_where_that_may_be(kind: Any, value: object) -> None:
    constructed = "loud" if isinstance(value, float) and kind is list[int] else None
    for answer in answers(kind | None, value):
        assert answer in (None, constructed)
    assert set(answers(kind, value)) <= ({None} if kind is float else {"loud"}) | {"loud"}


@pytest.mark.parametrize("value", [pd.NA, math.nan, np.float32("nan"), np.longdouble("nan")])
def test_a_missing_number_is_null(value: object) -> None:
    assert answers(float, value) == [None] * 5
    assert answers(Any, value) == [None] * 5


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (float, np.longdouble("0.1"), 0.1),
        (float, np.float16(0.5), 0.5),
        (float, np.array(0.5), 0.5),
        (float, np.bool_(True), 1.0),
        (int, np.uint64(2**63), 2**63),
        (bool, np.bool_(False), False),
        (str, np.str_("é"), "é"),
        (bytes, np.bytes_(b"a"), "a"),
        (Any, np.longdouble(2), 2.0),
        (Any, np.bytes_(b"a"), "a"),
        (Any, [{"a": (np.timedelta64(1, "s"), pd.NaT)}], [{"a": ["PT1S", None]}]),
        (list[float], np.array([0.5, 1], "g"), [0.5, 1.0]),
        (list[float | None], pd.array([1, None], dtype="Int64"), [1.0, None]),
        (list[int | None], pd.array([1, None], dtype="Int64"), [1, None]),
        (list[datetime | None], pd.Series([NOON, pd.NaT]), ["2026-01-02T12:00:00", None]),
        (list[timedelta], np.array([1, 2], "m8[m]"), ["PT1M", "PT2M"]),
        (list[date], np.array(["2026-01-02"], "M8[D]"), ["2026-01-02"]),
        (list[Any], np.array([NOON, pd.NA, np.int8(1)], object), ["2026-01-02T12:00:00", None, 1]),
        (dict[str, timedelta], {np.str_("a"): np.timedelta64(1, "D")}, {"a": "P1D"}),
        (tuple[datetime, float], (np.datetime64(NOON, "ns"), np.float32(1)), None),
        (list[str], pd.Categorical(["a", "b"]), ["a", "b"]),
        (list[list[int]], np.array([[1, 2]], "i1"), [[1, 2]]),
        (list[tuple[int, date]], np.array([(1, "2026-01-02")], "i4,M8[D]"), [[1, "2026-01-02"]]),
        (Any, np.array([(1, NOON)], "i4,M8[ns]"), [[1, "2026-01-02T12:00:00"]]),
        (list[int | None], np.ma.array([1, 2], mask=[False, True]), [1, None]),
        (Any, np.ma.array(["2026", "2027"], "M8[D]", mask=[True, False]), [None, "2027-01-01"]),
        (Any, np.ma.masked, None),
        (complex, np.clongdouble(1 + 2j), "1+2j"),
    ],
    ids=repr,
)
def test_values_are_what_they_mean_however_they_come(
    type_: Any, value: object, expected: object
) -> None:
    if type_ == tuple[datetime, float]:
        expected = ["2026-01-02T12:00:00", 1.0]
    assert answers(type_, value) == [expected] * 5


def test_a_complex_number_is_no_real_one() -> None:
    assert answers(float, np.complex128(1 + 2j)) == ["loud"] * 5


class Record(BaseModel):
    name: str | None
    count: int | None
    size: float | None
    when: datetime | None
    lasting: timedelta | None


FRAME = pd.DataFrame(
    {
        "name": ["a", None],
        "count": [1, None],
        "size": [1.5, None],
        "when": [NOON, pd.NaT],
        "lasting": [timedelta(1), pd.NaT],
    }
)
RECORDS = [
    {"name": "a", "count": 1, "size": 1.5, "when": "2026-01-02T12:00:00", "lasting": "P1D"},
    {"name": None, "count": None, "size": None, "when": None, "lasting": None},
]


@pytest.mark.parametrize(
    "rows",
    [
        FRAME.to_dict("records"),
        list(FRAME.itertuples(index=False)),
        [row for _, row in FRAME.iterrows()],
        FRAME.convert_dtypes().to_dict("records"),
    ],
    ids=["records", "tuples", "series", "nullable types"],
)
def test_the_rows_of_a_table_are_predictions(rows: list[Any]) -> None:
    assert [json.loads(serialise(row, Record)) for row in rows] == RECORDS


def test_all_rows_of_a_table_are_one_prediction() -> None:
    records = RootModel[list[Record]]
    assert json.loads(serialise(FRAME.to_dict("records"), records)) == RECORDS


def test_a_table_is_its_columns() -> None:
    schema = create_model("Columns", size=(list[float], ...), when=(list[datetime | None], ...))
    assert json.loads(serialise(FRAME, schema)) == {
        "size": [1.5, None],
        "when": ["2026-01-02T12:00:00", None],
    }


def test_names_that_a_series_has_itself_are_those_of_its_values() -> None:
    schema = create_model("Row", name=(int, ...), size=(int, ...))
    assert json.loads(serialise(pd.Series({"name": 7, "size": 8}, name=1), schema)) == {
        "name": 7,
        "size": 8,
    }


def test_a_models_own_data_is_left_as_it_is() -> None:
    schema = create_model("Row", x=(list[int | None], ...))
    own = {"x": [math.nan, 1]}
    assert json.loads(serialise(own, schema)) == {"x": [None, 1]}
    assert math.isnan(own["x"][0])


def test_what_a_field_writes_itself_is_left_to_it() -> None:
    class Own(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        when: pd.Timestamp
        values: Annotated[
            np.ndarray[Any, Any], PlainSerializer(lambda each: each.tolist(), list[int])
        ]
        others: timedelta = timedelta(0)

        @field_serializer("when")
        def write(self, value: pd.Timestamp) -> str:
            return str(value.isoformat())

    prediction = Own(when=pd.Timestamp(1), values=np.array([1]))
    expected = {"when": "1970-01-01T00:00:00.000000001", "values": [1], "others": "PT0S"}
    assert json.loads(serialise(prediction, Own)) == expected
    prediction.others = np.timedelta64(1, "s")  # type: ignore[assignment]
    assert json.loads(serialise(prediction, Own)) == {**expected, "others": "PT1S"}


@pytest.mark.parametrize("value", [pd.NaT, pd.Timestamp(1), np.timedelta64(5, "ns")], ids=repr)
def test_many_predictions_are_not_written_together_where_one_needs_more(value: Any) -> None:
    schema = create_model("Schema", x=(Any, ...), y=(list[float], []))
    assert serialise_together([schema(x=1), schema(x=value)], schema) is None


@pytest.mark.parametrize("value", [*DURATIONS, *MOMENTS, np.complex128(1 + 2j)], ids=repr)
@pytest.mark.parametrize("type_", [int, float, str])
def test_columns_of_dates_are_no_columns_of_numbers(type_: Any, value: Any) -> None:
    schema = create_model("Schema", x=(type_, ...))
    assert written_columns({"x": [value]}, 1, schema) is None
    assert written_columns({"x": np.array([value])}, 1, schema) is None
    assert written_columns({"x": [1, value]}, 2, schema) is None


@pytest.mark.parametrize(
    "values",
    [np.array([0.5, 1], "g"), [np.longdouble(0.5), 1], pd.Series([0.5, 1]), (0.5, np.float16(1))],
    ids=repr,
)
def test_columns_of_numbers_are_numbers(values: Any) -> None:
    schema = create_model("Schema", x=(float, ...))
    assert written_columns({"x": values}, 2, schema) == {"x": [0.5, 1.0]}


@pytest.mark.parametrize(("type_", "expected"), [(float, {"x": [None, 1.0]}), (FiniteFloat, None)])
@pytest.mark.parametrize("missing", [math.nan, pd.NA, np.float32("nan")])
def test_columns_have_null_where_the_field_may_be_nan(
    type_: Any, expected: Any, missing: Any
) -> None:
    schema = create_model("Schema", x=(type_, ...))
    assert written_columns({"x": [missing, 1.0]}, 2, schema) == expected


def test_neither_library_is_imported() -> None:
    code = """
import sys
from pydantic import BaseModel
from models_api.prediction.codec import serialise
class Out(BaseModel):
    x: list[float]
assert serialise({"x": [1, 2]}, Out) == b'{"x":[1.0,2.0]}'
assert not {"numpy", "pandas"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("field", [Field(ge=0), Field(ge=0, le=1), Field(allow_inf_nan=False)])
def test_what_a_field_refuses_is_refused_of_numpy_too(field: Any) -> None:
    schema = create_model("Schema", x=(float, field))
    for prediction in ({"x": np.float32("nan")}, schema.model_construct(x=np.float64("nan"))):
        with pytest.raises(ValidationError, match="x"):
            serialise(prediction, schema)
