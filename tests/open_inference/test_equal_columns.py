"""Whatever the fields are, columns have the answers that rows have, by every way to ask."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy
import pandas  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_base import MLModel
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    RootModel,
    computed_field,
    create_model,
    model_validator,
)
from pydantic_core import to_jsonable_python

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import PredictionFailed, TensorError
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.model_stack import Layer, ModelStack
from models_api.open_inference.columns import Column, columns
from models_api.open_inference.inference import Payload, infer
from models_api.schemas.array_types import ArrayType, array_types


class Species(StrEnum):
    SETOSA = "setosa"
    VIRGINICA = "virginica"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


class Point(BaseModel):
    x: float
    y: float | None = None


class Counted(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(type(self).model_fields)


class Checked(BaseModel):
    @model_validator(mode="after")
    def check(self) -> Any:
        return self


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


def null(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


FIELDS: list[tuple[Any, st.SearchStrategy[Any], str, tuple[int, ...]]] = [
    (float, FLOATS, "f8", ()),
    (int, INTEGERS, "i8", ()),
    (bool, st.booleans(), "?", ()),
    (str, TEXTS, "O", ()),
    (Annotated[float, Field(ge=-1, le=1)], st.floats(-1, 1), "f8", ()),
    (PositiveInt, st.integers(1, 9), "i8", ()),
    (Annotated[str, Field(max_length=3, pattern="^[a-z]*$")], st.text("abc", max_size=3), "O", ()),
    (float | None, null(FLOATS), "f8", ()),
    (Annotated[float, Field(gt=0)] | None, null(st.floats(1, 2)), "f8", ()),
    (int | None, null(INTEGERS), "O", ()),
    (bool | None, null(st.booleans()), "O", ()),
    (str | None, null(TEXTS), "O", ()),
    (Species, st.sampled_from([*Species]), "O", ()),
    (Species | None, null(st.sampled_from([*Species])), "O", ()),
    (Level, st.sampled_from([*Level]), "O", ()),
    (Literal["spam", "ham"], st.sampled_from(["spam", "ham"]), "O", ()),
    (Literal["spam"] | None, st.sampled_from(["spam", None]), "O", ()),
    (Literal["spam", None], st.sampled_from(["spam", None]), "O", ()),
    (Literal[1, 2], st.sampled_from([1, 2]), "i8", ()),
    (Literal[True, False], st.booleans(), "?", ()),
    (Literal[1, "one", None], st.sampled_from([1, "one", None]), "O", ()),
    (float | str, FLOATS | TEXTS, "O", ()),
    (date, st.dates(), "O", ()),
    (datetime | None, null(st.datetimes(timezones=st.just(UTC))), "O", ()),
    (Decimal, st.decimals(-9, 9, places=2), "O", ()),
    (UUID, st.uuids(), "O", ()),
    (Annotated[float, AfterValidator(abs)], FLOATS, "f8", ()),
    (
        Annotated[list[float], Field(min_length=2, max_length=2)],
        st.tuples(FLOATS, FLOATS),
        "f8",
        (2,),
    ),
    (tuple[int, int, int], st.tuples(INTEGERS, INTEGERS, INTEGERS), "i8", (3,)),
    (list[str], st.lists(TEXTS, min_size=2, max_size=2), "O", ()),
    (Point, st.builds(Point, x=FLOATS, y=null(FLOATS)), "O", ()),
    (dict[str, int], st.dictionaries(TEXTS, INTEGERS, max_size=2), "O", ()),
]


class RowsModel(MLModel):
    """Gives back what it takes, row by row."""

    display_name = qualified_name = description = "echo"
    version = "1.0.0"
    input_schema: Any
    output_schema: Any

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.arrays: dict[str, Any] = {}

    def predict(self, data: Any) -> Any:
        self.calls.append("predict")
        return {name: getattr(data, name) for name in type(data).model_fields}


class ColumnsModel(RowsModel):
    """The same by columns."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        self.calls.append("predict_columns")
        self.arrays = dict(columns)
        return columns


def hosted(
    cls: type[MLModel], input_schema: type[BaseModel], output_schema: type[BaseModel]
) -> HostedModel:
    schemas = {"input_schema": input_schema, "output_schema": output_schema}
    stack = ModelStack(Layer(type(cls.__name__, (cls,), schemas), {}), ())
    model = HostedModel(ModelConfiguration(class_path="tests.Model"), stack)
    model.load()
    return model


Drawn = tuple[type[BaseModel], list[dict[str, Any]]]
BASES: st.SearchStrategy[Any] = st.sampled_from([BaseModel, Counted, Checked])


@st.composite
def schemas(draw: st.DrawFn) -> Drawn:
    """Draw a schema, and rows that fit it, as their JSON has them."""
    chosen = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4))
    extra: Any = draw(st.sampled_from(["ignore", "forbid"]))
    fields: dict[str, Any] = {}
    for index, (type_, _, _, _) in enumerate(chosen):
        name = f"f{index}"
        alias = draw(st.sampled_from([None, f"{name}Alias"]))
        fields[name] = (type_, Field(alias=alias))
    made: Any = create_model("Drawn", __base__=draw(BASES), **fields)
    made.model_config = ConfigDict(extra=extra)
    made.model_rebuild(force=True)
    count = draw(st.integers(2, 5))
    rows = [
        {
            made.model_fields[name].alias or name: to_jsonable_python(draw(values))
            for name, (_, values, _, _) in zip(fields, chosen, strict=True)
        }
        for _ in range(count)
    ]
    return made, rows


@settings(max_examples=25, deadline=None)
@given(schemas())
def test_columns_have_the_answers_of_rows_by_every_way_to_ask(drawn: Drawn) -> None:
    require_equal_answers(*drawn)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(schemas())
def test_many_columns_have_the_answers_of_rows_by_every_way_to_ask(drawn: Drawn) -> None:
    require_equal_answers(*drawn)


def require_equal_answers(schema: type[BaseModel], rows: list[dict[str, Any]]) -> None:
    by_rows, by_columns = (hosted(each, schema, schema) for each in (RowsModel, ColumnsModel))
    expected = [json.loads(by_rows.predictor.predict(json.dumps(row).encode())) for row in rows]
    found = by_columns.predictor.predict_batch(json.dumps({"inputs": rows}).encode())
    assert json.loads(found)["predictions"] == expected
    for is_binary in (False, True):
        payload = request(rows, schema, is_binary)
        (answer, _), (same, _) = (infer(model, payload) for model in (by_columns, by_rows))
        assert answer == same
        if not is_binary:
            assert values_of(answer.body) == expected
    assert by_columns.ready_model().calls == ["predict_columns"] * 3


def request(rows: list[dict[str, Any]], schema: type[BaseModel], is_binary: bool) -> Payload:
    """Make a request for rows, with as many tensors in binary as can be."""
    data: list[bytes] = []
    fields = columns(schema, "validation")
    inputs = [tensor([row[each.name] for row in rows], each, is_binary, data) for each in fields]
    outputs: dict[str, Any] = {"parameters": {"binary_data_output": True}} if is_binary else {}
    header = json.dumps({"inputs": inputs, **outputs}).encode()
    return Payload(b"".join([header, *data]), len(header)) if data else Payload(header)


def tensor(values: list[Any], column: Column, is_binary: bool, data: list[bytes]) -> dict[str, Any]:
    datatype, parameters = column.datatype, dict[str, Any]()
    is_mixed = datatype == "BYTES" and not {str, list}.issuperset(map(type, values))
    has_no_room = is_binary and None in values and datatype != "FP64"
    if column.content_type == "json" or is_mixed or has_no_room:
        datatype, parameters = "BYTES", {"content_type": "json"}
        values = [json.dumps(value) for value in values]
    shape = list(numpy.array(values, "O").shape)
    made = {"name": column.name, "datatype": datatype, "shape": shape, "parameters": parameters}
    if not is_binary:
        return {**made, "data": values}
    kinds = {"FP64": "f8", "INT64": "i8", "BOOL": "?"}
    flat = numpy.array(values, kinds.get(datatype, "O")).ravel()
    data.append(b"".join(map(prefixed, flat)) if datatype == "BYTES" else flat.tobytes())
    parameters["binary_data_size"] = len(data[-1])
    return made


def prefixed(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def values_of(body: bytes) -> list[dict[str, Any]]:
    """Return the rows that the tensors of an answer hold."""
    outputs = json.loads(body)["outputs"]
    listed = [numpy.empty(output["shape"], "O") for output in outputs]
    found = []
    for array, output in zip(listed, outputs, strict=True):
        array.ravel()[:] = output["data"]
        is_json = output.get("parameters", {}).get("content_type") == "json"
        found.append([json.loads(each) if is_json else each for each in array.tolist()])
    names = [output["name"] for output in outputs]
    return [dict(zip(names, row, strict=True)) for row in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("type_", "dtype", "dimensions"), [(f[0], *f[2:]) for f in FIELDS], ids=str
)
def test_the_schema_says_of_which_type_an_array_is(
    type_: Any, dtype: str, dimensions: tuple[int, ...]
) -> None:
    schema = create_model("Schema", x=(type_, ...))
    assert array_types(schema) == {"x": ArrayType(dtype, dimensions)}


# What a model gives that does not fit

GIVEN: list[Any] = [
    *("spam", "other", "", 1, 2, 3, 1.0, 0.5, True, None, math.nan, math.inf, 2**63, b"spam"),
    *(Species.SETOSA, "setosa", Level.HIGH, date(2026, 1, 2), [1.0, 2.0], [1.0], {"x": 1.0}),
    *(numpy.float32(0.5), numpy.int64(1), numpy.str_("spam"), numpy.datetime64("2026-01-02")),
]


class Number(BaseModel):
    number: int


class Verdict(BaseModel):
    x: Literal["spam"]


class GivingModel(RowsModel):
    """Gives a value for each number."""

    def predict(self, data: Any) -> Any:
        return {"x": GIVEN[data.number]}


class GivingColumnsModel(GivingModel):
    """The same by columns, as lists."""

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        self.calls.append("predict_columns")
        return {"x": [GIVEN[number] for number in columns["number"]]}


def outcome(ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except (PredictionFailed, TensorError) as error:
        return str(error)


@pytest.mark.parametrize("type_", [each[0] for each in FIELDS], ids=str)
def test_what_does_not_fit_the_output_is_the_error_that_it_is_by_rows(type_: Any) -> None:
    schema = create_model("Schema", x=(type_, ...))
    by_rows, by_columns = (
        hosted(each, Number, schema) for each in (GivingModel, GivingColumnsModel)
    )
    outcomes = []
    for number in range(len(GIVEN)):
        rows = [{"number": number}] * 2
        body, payload = json.dumps({"inputs": rows}).encode(), request(rows, Number, False)
        found = outcome(by_columns.predictor.predict_batch, body)
        assert found == outcome(by_rows.predictor.predict_batch, body)
        assert outcome(infer, by_columns, payload) == outcome(infer, by_rows, payload)
        outcomes.append(found)
    assert any(isinstance(each, str) for each in outcomes)
    assert set(by_columns.ready_model().calls) == {"predict_columns"}


def test_a_value_outside_of_a_literal_names_its_row_and_nothing_is_predicted_again() -> None:
    model = hosted(GivingColumnsModel, Number, Verdict)
    rows = [{"number": 0}, {"number": 1}]
    with pytest.raises(PredictionFailed, match=r"^Row 1: The model echo failed") as caught:
        infer(model, request(rows, Number, False))
    assert "Input should be 'spam'" in str(caught.value.__cause__)
    assert model.ready_model().calls == ["predict_columns"]


# What a model takes


def arrays_for(type_: Any, values: list[Any], **keys: Any) -> Any:
    """Return the array that a model gets for the values of a field in JSON."""
    schema = create_model("Schema", x=(type_, Field(**keys)), y=(int, 0))
    model = hosted(ColumnsModel, schema, schema)
    rows = [{"x": value, "y": 0} for value in values]
    by_tensors, _ = infer(model, request(rows, schema, False))
    first = model.ready_model().arrays["x"]
    model.predictor.predict_batch(json.dumps({"inputs": rows}).encode())
    second = model.ready_model().arrays["x"]
    assert model.ready_model().calls == ["predict_columns"] * 2
    assert values_of(by_tensors.body) == rows
    assert (first.dtype, first.tolist().__repr__()) == (second.dtype, second.tolist().__repr__())
    return first


def test_a_missing_float_is_nan_in_an_array_of_floats() -> None:
    for values in ([1.5, None], [1.5, 2.5], [None, None]):
        found = arrays_for(float | None, values)
        assert found.dtype == "f8"
        assert numpy.array_equal(found, numpy.array(values, "f8"), equal_nan=True)


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (int | None, [2**53 + 1, None]),
        (int | None, [1, 2]),
        (bool | None, [True, None]),
        (str | None, ["a", None]),
        (Literal["a", "b"] | None, ["a", None]),
        (Literal[1, None], [1, None]),
    ],
    ids=str,
)
def test_whatever_else_is_missing_is_none_in_an_array_of_objects(
    type_: Any, values: list[Any]
) -> None:
    found = arrays_for(type_, values)
    assert found.dtype == object
    assert [(type(each), each) for each in found] == [(type(each), each) for each in values]


def test_lists_of_one_length_are_an_array_of_more_dimensions() -> None:
    pixels = Annotated[list[float], Field(min_length=3, max_length=3)]
    assert arrays_for(pixels, [[1.0, 2.0, 3.0]] * 2).shape == (2, 3)
    image = Annotated[list[pixels], Field(min_length=2, max_length=2)]
    assert arrays_for(image, [[[1.0, 2.0, 3.0]] * 2] * 5).shape == (5, 2, 3)
    assert arrays_for(list[float], [[1.0, 2.0]] * 2).tolist() == [[1.0, 2.0]] * 2


def test_what_a_client_leaves_out_is_the_default() -> None:
    made = iter(range(100))
    schema = create_model(
        "Schema",
        x=(int, ...),
        constant=(float, 2.5),
        nothing=(float, None),
        none=(int | None, None),
        made=(int, Field(default_factory=lambda: next(made))),
    )
    model = hosted(ColumnsModel, schema, create_model("Out", x=(int, ...)))
    infer(model, Payload(json.dumps({"inputs": [INTEGERS_OF_X]}).encode()))
    found = {name: array.tolist() for name, array in model.ready_model().arrays.items()}
    assert repr(found.pop("nothing")) == "[nan, nan]"
    assert found == {"x": [1, 2], "constant": [2.5] * 2, "none": [None] * 2, "made": [0, 1]}


INTEGERS_OF_X = {"name": "x", "datatype": "INT64", "shape": [2], "data": [1, 2]}


@pytest.mark.parametrize(
    "given",
    [
        {"datatype": "FP64", "data": [1.0, 2.0]},
        {"datatype": "UINT8", "data": [1, 2]},
        {"datatype": "BYTES", "data": ["1", "2"]},
    ],
    ids=str,
)
def test_values_of_another_datatype_are_of_the_type_that_the_schema_makes(given: Any) -> None:
    schema = create_model("Schema", x=(int, ...))
    model = hosted(ColumnsModel, schema, schema)
    infer(model, Payload(json.dumps({"inputs": [{**INTEGERS_OF_X, **given}]}).encode()))
    found = model.ready_model().arrays["x"]
    assert (found.dtype, found.tolist()) == ("i8", [1, 2])


def test_an_integer_beyond_64_bits_is_predicted_by_rows() -> None:
    schema = create_model("Schema", x=(int, ...))
    model = hosted(ColumnsModel, schema, schema)
    found = model.predictor.predict_batch(b'{"inputs": [{"x": 1}, {"x": 36893488147419103232}]}')
    assert json.loads(found)["predictions"] == [{"x": 1}, {"x": 2**65}]
    assert model.ready_model().calls == ["predict", "predict"]


# Where columns cannot be


class Open(BaseModel, extra="allow"):
    x: float


class Empty(BaseModel):
    pass


class Whole(RootModel[float]):
    pass


@pytest.mark.parametrize(
    ("taken", "given", "why"),
    [
        (Open, Point, "its input schema Open has extra='allow', and what a client sends beyond"),
        (Whole, Point, "its input schema Whole is a RootModel, which has no fields"),
        (Empty, Point, "its input schema Empty has no fields"),
        (Point, Whole, "its output schema Whole is a RootModel, which has no fields"),
    ],
)
def test_where_columns_cannot_be_one_warning_says_why_when_the_model_is_loaded(
    taken: Any, given: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Model(ColumnsModel):
        def predict(self, data: Any) -> Any:
            self.calls.append("predict")
            return 0.5 if given is Whole else {"x": 0.5}

    model = hosted(Model, taken, given)
    rows = [0.5, 0.5] if taken is Whole else [{"x": 0.5}] * 2
    for _ in range(3):
        model.predictor.predict_batch(json.dumps({"inputs": rows}).encode())
    assert model.ready_model().calls == ["predict"] * 6
    (warning,) = [each for each in caplog.records if "predict_columns" in each.message]
    assert warning.message.startswith(f"predict_columns of echo is not used: {why}")
    assert model.used_methods == ["predict"]


def test_a_model_whose_columns_are_used_is_warned_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = hosted(ColumnsModel, create_model("Open", x=(float, ...)), Open)
    assert (model.used_methods, model.unused_methods) == (["predict", "predict_columns"], {})
    assert not [each for each in caplog.records if "predict_columns" in each.message]


# The columns that a model returns


class ReturningModel(ColumnsModel):
    """Returns what the test puts there."""

    returned: Any = None

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        super().predict_columns(columns)
        return self.returned


class Price(BaseModel):
    price: float
    currency: str = "EUR"


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "predict_columns returned None; it should return a dict of an array for each"),
        ([[1.0, 2.0]], "predict_columns returned a value of list; it should return a dict"),
        (numpy.zeros((2, 1)), "predict_columns returned a value of ndarray; it should return a"),
        ({}, "predict_columns returned no column for price, but for nothing."),
        ({"prices": [1.0, 2.0]}, "predict_columns returned no column for price, but for prices."),
        ({"price": [1.0]}, "predict_columns returned 1 values for price, but there are 2 rows."),
        ({"price": 1.0}, "predict_columns returned a value of float for price; it should be an"),
        ({"price": "12"}, "predict_columns returned a value of str for price; it should be an"),
        ({"price": numpy.array(1.0)}, "predict_columns returned a value of ndarray for price;"),
        ({"price": (x for x in (1.0, 2.0))}, "predict_columns returned a value of generator for"),
        ({"price": numpy.array([1, 2], "m8[ns]")}, "predict_columns returned for price: This"),
        ({"price": ["1.0", "dear"]}, "1 validation error for Price"),
        ({"price": numpy.zeros((2, 1))}, "1 validation error for Price"),
        ({"price": [1.0, 2.0], "currency": [None, "EUR"]}, "1 validation error for Price"),
    ],
)
def test_wrong_columns_are_an_error_that_says_what_is_wrong(returned: Any, why: str) -> None:
    model = hosted(ReturningModel, Number, Price)
    model.ready_model().returned = returned
    with pytest.raises(PredictionFailed) as caught:
        model.predictor.predict_batch(b'{"inputs": [{"number": 1}, {"number": 2}]}')
    assert str(caught.value.__cause__).startswith(why)
    assert model.ready_model().calls == ["predict_columns"]


@pytest.mark.parametrize(
    "returned",
    [
        {"price": numpy.array([1, 2])},
        {"price": [numpy.float32(1), "2"], "currency": ("EUR", "EUR"), "other": [1, 2]},
        pandas.DataFrame({"price": [1.0, 2.0]}),
        pandas.DataFrame({"price": [1, 2], "currency": "EUR"}, index=[7, 8]),
        numpy.array([(1.0,), (2.0,)], dtype=[("price", "f4")]),
    ],
    ids=["array", "lists", "data frame", "another index", "structured array"],
)
def test_columns_may_be_whatever_has_a_sequence_for_each_name(returned: Any) -> None:
    model = hosted(ReturningModel, Number, Price)
    model.ready_model().returned = returned
    found = model.predictor.predict_batch(b'{"inputs": [{"number": 1}, {"number": 2}]}')
    prices = [{"price": price, "currency": "EUR"} for price in (1.0, 2.0)]
    assert json.loads(found)["predictions"] == prices
    assert model.ready_model().calls == ["predict_columns"]
