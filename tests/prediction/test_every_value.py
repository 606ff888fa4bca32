"""Whatever numpy and pandas give for a field, the answer is what it means, or an error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from itertools import product
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, create_model
from pydantic_core import PydanticSerializationError

from models_api.prediction.codec import serialise, serialise_together
from models_api.schemas.json_schema import json_schema
from tests.prediction.test_plain_columns import written_columns

Meant = tuple[object, object]
"""A value of a library, and what it means in Python."""

INT64 = st.integers(-(2**63), 2**63 - 1)
UNITS = {"s": 10**6, "ms": 10**3, "us": 1}
MICROSECONDS = st.integers(-(2**55), 2**55)


def meant_numbers() -> st.SearchStrategy[Meant]:
    floats = st.floats()
    return st.one_of(
        floats.map(lambda each: (np.float64(each), each)),
        st.floats(width=32).map(lambda each: (np.float32(each), each)),
        st.floats(width=16).map(lambda each: (np.float16(each), each)),
        floats.map(lambda each: (np.longdouble(each), each)),
        floats.map(lambda each: (np.array(each), each)),
        INT64.map(lambda each: (np.int64(each), each)),
        st.integers(0, 2**64 - 1).map(lambda each: (np.uint64(each), each)),
        st.booleans().map(lambda each: (np.bool_(each), each)),
        floats.map(lambda each: (np.complex128(complex(each, 1)), complex(each, 1))),
    )


def meant_times() -> st.SearchStrategy[Meant]:
    units = st.sampled_from(sorted(UNITS))
    durations = st.tuples(MICROSECONDS, units).map(_duration)
    moments = st.datetimes().map(lambda each: (np.datetime64(each, "us"), each))
    fine = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
    return st.one_of(
        durations,
        durations.map(lambda pair: (pd.Timedelta(pair[0]), pair[1])),
        moments,
        fine.map(lambda each: (np.datetime64(each, "ns"), each)),
        fine.map(lambda each: (pd.Timestamp(each), each)),
        fine.map(lambda each: (pd.Timestamp(each).as_unit("ns"), each)),
        st.dates().map(lambda each: (np.datetime64(each, "D"), each)),
        INT64.map(lambda each: (np.datetime64(each, "ns"), _exact(each))),
        INT64.map(lambda each: (np.timedelta64(each, "ns"), _exact_duration(each))),
    )


def _duration(drawn: tuple[int, str]) -> Meant:
    microseconds, unit = drawn
    count = microseconds // UNITS[unit]
    return np.timedelta64(count, unit), timedelta(microseconds=count * UNITS[unit])  # type: ignore[call-overload]


def _exact(nanoseconds: int) -> object:
    duration = _exact_duration(nanoseconds)
    return duration if duration is ... else datetime(1970, 1, 1) + duration  # noqa: DTZ001


def _exact_duration(nanoseconds: int) -> Any:
    microseconds, rest = divmod(nanoseconds, 1000)
    return ... if rest else timedelta(microseconds=microseconds)


MISSING = st.sampled_from(
    [
        pd.NaT,
        pd.NA,
        np.datetime64("NaT", "s"),
        np.timedelta64("NaT", "s"),
        np.float64("nan"),
        math.nan,
    ]
).map(lambda each: (each, None))
TEXTS = st.text(st.characters(exclude_categories=["Cs"])).map(lambda each: (np.str_(each), each))
SCALARS = st.one_of(meant_numbers(), meant_times(), TEXTS, MISSING)


def lists_of(items: st.SearchStrategy[Meant]) -> st.SearchStrategy[Meant]:
    def unzipped(pairs: list[Meant]) -> Meant:
        return [value for value, _ in pairs], [meaning for _, meaning in pairs]

    lists = st.lists(items, max_size=3).map(unzipped)
    return lists | lists.map(lambda pair: (_object_array(pair[0]), pair[1]))


def _object_array(values: Any) -> object:
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def held(items: st.SearchStrategy[Meant]) -> st.SearchStrategy[Meant]:
    keyed = st.dictionaries(st.sampled_from("ab"), items, max_size=2)
    mappings = keyed.map(
        lambda each: (
            {np.str_(key): value for key, (value, _) in each.items()},
            {key: meaning for key, (_, meaning) in each.items()},
        )
    )
    return lists_of(items) | mappings


VALUES = st.recursive(SCALARS, held, max_leaves=4)
TYPES = st.recursive(
    st.sampled_from(
        [
            *(bool, int, float, str, complex, date, datetime, timedelta, Any, FiniteFloat),
            Annotated[float, Field(ge=0)],
            Annotated[int, Field(ge=0, le=9)],
        ]
    ),
    lambda types: st.one_of(
        types.map(lambda each: each | None),
        types.map(lambda each: list[each]),  # type: ignore[valid-type]
        types.map(lambda each: dict[str, each]),  # type: ignore[valid-type]
        types.map(lambda each: tuple[each, ...]),  # type: ignore[valid-type]
        types.map(lambda each: create_model("Inner", a=(each, ...))),
        st.tuples(types, types).map(lambda pair: pair[0] | pair[1]),
    ),
    max_leaves=3,
)
MAKERS: list[Any] = [
    lambda _, value: {"x": value},
    lambda schema, value: schema.model_construct(x=value),
    lambda _, value: SimpleNamespace(x=value),
    lambda _, value: pd.Series({"x": value}, dtype=object),
]


def is_missing(meaning: object) -> bool:
    return meaning is None or (isinstance(meaning, float) and math.isnan(meaning))


def readings(meaning: object) -> Iterator[object]:
    """Yield it with None and NaN in the places of all that is missing."""
    if is_missing(meaning):
        yield from (None, math.nan)
    elif isinstance(meaning, list):
        yield from map(list, product(*map(readings, meaning)))
    elif isinstance(meaning, dict):
        for values in product(*map(readings, meaning.values())):
            yield dict(zip(meaning, values, strict=True))
    else:
        yield meaning


def expected(schema: type[BaseModel], meaning: object) -> Iterator[object]:
    """Yield what pydantic itself writes of Python's own values."""
    for reading in readings(meaning):
        with suppress(ValidationError, PydanticSerializationError):
            validated = schema.model_validate({"x": reading})
            yield json.loads(validated.model_dump_json(by_alias=True, warnings="error"))


def answer(write: Callable[[], bytes | None]) -> Any:
    """Return what is answered with 200; None for the error that every exception becomes."""
    try:
        written = write()
    except Exception:  # noqa: BLE001 (the predictor makes one error of all)
        return None
    return None if written is None else json.loads(written)


@settings(max_examples=300, deadline=None)
@given(TYPES, VALUES, st.sampled_from(MAKERS))
def test_an_answer_is_what_the_document_says_and_what_the_value_means(
    type_: Any, drawn: Meant, make: Any
) -> None:
    value, meaning = drawn
    schema = create_model("Schema", x=(type_, ...))
    prediction = make(schema, value)
    found = answer(lambda: serialise(prediction, schema))
    together = answer(lambda: serialise_together([prediction] * 2, schema))
    assert together in (None, [found] * 2)
    columns = written_columns({"x": [value]}, 1, schema)
    assert columns is None or {"x": columns["x"][0]} == found
    if found is not None:
        Draft202012Validator(json_schema(schema, "serialization")).validate(found)
        assert found in list(expected(schema, meaning))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(MAKERS))
def test_what_a_field_takes_is_answered(data: st.DataObject, make: Any) -> None:
    type_, values = data.draw(
        st.sampled_from(
            [
                (float, meant_numbers().filter(lambda pair: not isinstance(pair[1], complex))),
                (float | None, MISSING),
                (datetime | None, MISSING),
                (int | None, MISSING),
                (str | None, MISSING | TEXTS),
                (
                    datetime | date | timedelta,
                    meant_times().filter(lambda pair: pair[1] is not ...),
                ),
            ]
        )
    )
    value, meaning = data.draw(values)
    schema = create_model("Schema", x=(type_, ...))
    found = answer(lambda: serialise(make(schema, value), schema))
    assert found is not None
    assert found in list(expected(schema, meaning))
