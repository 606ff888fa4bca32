"""From tensors to rows, and from predictions to tensors."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from pydantic import BaseModel, ConfigDict, RootModel, create_model

from models_api.exceptions import InputProblem, InvalidInput, TensorError
from models_api.open_inference.columns import Columns, columns
from models_api.open_inference.mapping import (
    checked_fields,
    columns_from_predictions,
    rows_from_fields,
    tensor_error,
    tensor_from_values,
)
from models_api.open_inference.tensors import Tensor


def tensor(name: str, datatype: str, values: Any, **parameters: Any) -> Tensor:
    kinds = {"FP64": "f8", "FP32": "f4", "INT64": "i8", "UINT8": "u1", "BOOL": "?", "BYTES": "O"}
    data = numpy.array(values, dtype=kinds[datatype])
    return Tensor(name, datatype, data.shape, data, parameters)


def rows(
    fields: dict[str, Any], *tensors: Tensor, content_type: str | None = None, maximum: int = 10
) -> Any:
    found = columns(create_model("Schema", **fields), "validation")
    return rows_of(tensors, found, content_type, maximum)


def rows_of(
    tensors: Sequence[Tensor], found: Columns, content_type: str | None = None, maximum: int = 10
) -> Any:
    fields = checked_fields(tensors, found, maximum)
    return rows_from_fields(fields, tensors, found, content_type).values


def refusal(fields: dict[str, Any], *tensors: Tensor, maximum: int = 10) -> str:
    with pytest.raises(TensorError) as caught:
        rows(fields, *tensors, maximum=maximum)
    return str(caught.value)


NUMBERS: dict[str, Any] = {"a": (float, ...), "b": (int, ...)}


def test_each_tensor_is_a_field_and_its_first_dimension_the_rows() -> None:
    given = tensor("a", "FP64", [1.5, 2.5]), tensor("b", "INT64", [1, 2])
    assert rows(NUMBERS, *given) == [{"a": 1.5, "b": 1}, {"a": 2.5, "b": 2}]


def test_columns_may_be_tables_of_one_column() -> None:
    given = tensor("a", "FP32", [[1.5], [2.5]]), tensor("b", "UINT8", [[1], [2]])
    assert rows(NUMBERS, *given) == [{"a": 1.5, "b": 1}, {"a": 2.5, "b": 2}]


def test_lists_keep_their_dimensions() -> None:
    given = tensor("a", "FP64", [[[1, 2], [3, 4]]])
    assert rows({"a": (list[list[float]], ...)}, given) == [{"a": [[1, 2], [3, 4]]}]
    assert rows({"a": (list[float], ...)}, tensor("a", "FP64", [[1], [2]])) == [
        {"a": [1]},
        {"a": [2]},
    ]


def test_one_tensor_with_another_name_holds_the_fields_in_their_order() -> None:
    given = tensor("input-0", "FP64", [[1.5, 1], [2.5, 2]])
    assert rows(NUMBERS, given) == [{"a": 1.5, "b": 1}, {"a": 2.5, "b": 2}]
    texts = tensor("x", "BYTES", [[b"1", b"2"]])
    assert rows({"a": (str, ...), "b": (str, ...)}, texts) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("annotation", "element", "content_type", "value"),
    [
        (str, "é".encode(), None, "é"),
        (str, b"[1]", "str", "[1]"),
        (str, base64.b64encode("é".encode()), "base64", "é"),
        (str, b'"text"', "json", "text"),
        (str | None, b"null", "json", None),
        (dict[str, int], b'{"x": 1}', None, {"x": 1}),
        (dict[str, int], b'{"x": 1}', "pd_json", {"x": 1}),
        (Any, b"text", "str", "text"),
        (list[float], b"[1, 2]", "json", [1, 2]),
        (float, b"1.5", "np", "1.5"),
    ],
)
@pytest.mark.parametrize("shape", [(1,), (1, 1)], ids=str)
def test_bytes_are_what_the_content_type_and_the_field_say(
    annotation: Any, element: bytes, content_type: str | None, value: Any, shape: tuple[int, ...]
) -> None:
    fields: dict[str, Any] = {"a": (annotation, ...)}
    parameters = {} if content_type is None else {"content_type": content_type}
    given = tensor("a", "BYTES", numpy.array([element], dtype=object).reshape(shape), **parameters)
    assert rows(fields, given) == [{"a": value}]
    bare = tensor("a", "BYTES", [element])
    assert rows(fields, bare, content_type=content_type) == [{"a": value}]


def test_a_schema_without_fields_takes_one_tensor_of_any_name() -> None:
    found = columns(RootModel[list[float]], "validation")
    for name in ("input", "x"):
        given = tensor(name, "FP64", [[1, 2], [3, 4]])
        assert rows_of([given], found) == [[1.0, 2.0], [3.0, 4.0]]


def test_no_rows_are_no_rows() -> None:
    assert rows(NUMBERS, tensor("a", "FP64", []), tensor("b", "INT64", [])) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [tensor("a", "FP64", [[1.0], [math.nan]]), tensor("b", "INT64", [1, 2])],
            'Input "a": data[1] is null or NaN, and the field takes neither.',
        ),
        (
            [tensor("x", "FP64", [[1.0, 1.0], [math.nan, 2.0]])],
            'Input "x": data[1] is null or NaN, and the field takes neither.',
        ),
        (
            [tensor("x", "FP64", [1.0])],
            'Input "x": the model has none of this name, and the shape [1] is not that of rows '
            "with one element for each of a, b.",
        ),
        (
            [tensor("x", "FP64", [[1.0, 2.0, 3.0]])],
            'Input "x": the model has none of this name, and the shape [1, 3] is not that of rows '
            "with one element for each of a, b.",
        ),
        (
            [tensor("a", "FP64", 1.0), tensor("b", "INT64", [1])],
            'Input "a": the first dimension should be that of rows.',
        ),
        (
            [tensor("a", "FP64", [1.0]), tensor("b", "INT64", [1, 2])],
            'Input "b" has 2 rows, but input "a" has 1.',
        ),
        (
            [tensor("a", "FP64", [0.0] * 11), tensor("b", "INT64", [0] * 11)],
            "There are 11 rows; a request may have at most 10.",
        ),
        (
            [tensor("a", "BYTES", [b"\xff"])],
            'Input "a": data[0] is not UTF-8.',
        ),
        (
            [tensor("a", "BYTES", [b"1", b"!"], content_type="base64")],
            'Input "a": data[0] is not base64.',
        ),
        (
            [tensor("a", "BYTES", [b"1", b"{"], content_type="json")],
            'Input "a": data[1] is not JSON: EOF while parsing an object at line 1 column 1',
        ),
        (
            [tensor("a", "BYTES", [b"1"], content_type="csv")],
            'Input "a": content_type should be one of np, pd, str, datetime, base64, json, '
            "pd_json.",
        ),
    ],
)
def test_what_has_no_place_is_refused_with_the_reason(given: list[Tensor], message: str) -> None:
    assert refusal(NUMBERS, *given) == message


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        (float | None, tensor("a", "FP64", [1.5, math.nan]), [1.5, None]),
        (float | None, tensor("a", "FP32", [[math.nan], [1.5]]), [None, 1.5]),
        (int | None, tensor("a", "FP64", [math.nan, 2.0]), [None, 2.0]),
        (str | None, tensor("a", "BYTES", [None, b"x"]), [None, "x"]),
        (bool | None, tensor("a", "BYTES", [None, b"true"]), [None, "true"]),
        (list[float | None], tensor("a", "BYTES", [b"[null]", b"[1.5]"]), [[None], [1.5]]),
        (Any, tensor("a", "BYTES", [None, b"1"]), [None, 1]),
    ],
)
def test_what_is_missing_is_null_where_the_schema_takes_null(
    type_: Any, given: Tensor, expected: list[Any]
) -> None:
    others = {"b": (int, 0)}
    assert rows({"a": (type_, ...), **others}, given) == [{"a": value} for value in expected]


def test_nothing_is_missing_in_lists_that_a_tensor_has_whole() -> None:
    assert refusal({"a": (list[float] | None, ...)}, tensor("a", "FP64", [[1.0, math.nan]])) == (
        'Input "a": data[1] is null or NaN, and the field takes neither.'
    )


def test_columns_of_one_tensor_may_miss_values() -> None:
    fields: dict[str, Any] = {"a": (float | None, ...), "b": (float | None, ...)}
    given = tensor("x", "FP64", [[1.5, math.nan], [math.nan, 2.5]])
    assert rows(fields, given) == [{"a": 1.5, "b": None}, {"a": None, "b": 2.5}]


@pytest.mark.parametrize("extra", ["ignore", "forbid", "allow"])
def test_unknown_tensors_are_what_the_schema_makes_of_unknown_fields(extra: Any) -> None:
    schema = create_model("Schema", __config__=ConfigDict(extra=extra), **NUMBERS)
    given = [
        tensor("unknown", "BYTES", [b"x"]),
        tensor("a", "FP64", [1.0]),
        tensor("b", "INT64", [2]),
    ]
    if extra == "forbid":
        with pytest.raises(TensorError, match='Input "unknown": the model has none of this name'):
            rows_of(given, columns(schema, "validation"))
        return
    expected: dict[str, Any] = {"a": 1.0, "b": 2}
    if extra == "allow":
        expected = {"unknown": "x", **expected}
    assert rows_of(given, columns(schema, "validation")) == [expected]


def test_a_tensor_that_is_ignored_may_have_any_shape() -> None:
    given = [tensor("x", "FP64", [[1.0, 2.0]] * 3), tensor("a", "FP64", [1.0])]
    assert rows({"a": (float, ...)}, *given) == [{"a": 1.0}]


def test_rows_of_nothing_but_ignored_tensors_have_the_defaults() -> None:
    given = tensor("x", "BYTES", [b"1", b"2"])
    assert rows({"a": (float, 0.5), "b": (str, "")}, given) == [{}, {}]
    assert "the model has none of this name" in refusal(NUMBERS, given)
    assert rows(NUMBERS, given, tensor("y", "FP64", [1.0, 1.0])) == [{}, {}]


def test_problems_of_the_schema_are_told_by_tensor_and_row() -> None:
    found = columns(create_model("Schema", **NUMBERS), "validation")
    problems = [
        InputProblem(("inputs", 0, "a"), "missing", "Field required"),
        InputProblem(("inputs", 1, "a"), "missing", "Field required"),
        InputProblem(("inputs", 1, "b", 2, "x"), "int_type", "Input should be a valid integer"),
        InputProblem(("inputs", 3), "value_error", "Value error, too much"),
        InputProblem((), "too_many_problems", "There are too many problems to list them all."),
    ]
    assert str(tensor_error(InvalidInput(problems), found)) == (
        'Input "a" is missing; Input "b", row 1: [2].x: Input should be a valid integer; '
        "Row 3: Value error, too much; There are too many problems to list them all."
    )


def test_problems_of_a_whole_value_are_told_by_its_only_tensor() -> None:
    problem = InputProblem(("inputs", 2, 0), "float_type", "Input should be a valid number")
    error = tensor_error(InvalidInput([problem]), columns(RootModel[list[float]], "validation"))
    assert str(error) == 'Input "input", row 2: [0]: Input should be a valid number'


def test_only_some_problems_are_told() -> None:
    found = columns(create_model("Schema", **NUMBERS), "validation")
    problems = [InputProblem(("inputs", row, "a"), "x", "Bad") for row in range(12)]
    text = str(tensor_error(InvalidInput(problems), found))
    assert text.startswith('Input "a", row 0: Bad; Input "a", row 1: Bad; ')
    assert text.endswith('Input "a", row 9: Bad; and 2 more')


class Output(BaseModel):
    """What a model gives, a field of each kind."""

    number: float
    count: int
    flag: bool
    text: str
    vector: list[float]
    words: list[str]
    perhaps: int | None
    anything: Any


def output(name: str, *values: Any) -> Tensor:
    found = columns(Output, "serialization")
    listed = columns_from_predictions([{name: value} for value in values], found)
    return tensor_from_values(listed[name], found.by_name[name])


@pytest.mark.parametrize(
    ("name", "values", "datatype", "shape", "data"),
    [
        ("number", [1, 2.5], "FP64", (2,), [1.0, 2.5]),
        ("count", [1, -(2**63)], "INT64", (2,), [1, -(2**63)]),
        ("flag", [True, False], "BOOL", (2,), [True, False]),
        ("text", ["é", ""], "BYTES", (2,), ["é".encode(), b""]),
        ("vector", [[1, 2], [3, 4]], "FP64", (2, 2), [[1, 2], [3, 4]]),
        ("vector", [[], []], "FP64", (2, 0), [[], []]),
        ("words", [["a", "b"]], "BYTES", (1, 2), [[b"a", b"b"]]),
        ("perhaps", [None, 1], "BYTES", (2,), [b"null", b"1"]),
        ("anything", [[1], {"a": "é"}], "BYTES", (2,), [b"[1]", '{"a":"é"}'.encode()]),
        ("number", [], "FP64", (0,), []),
        ("vector", [], "FP64", (0, 0), []),
        ("text", [], "BYTES", (0,), []),
    ],
)
def test_predictions_are_a_tensor_of_the_fields_type(
    name: str, values: list[Any], datatype: str, shape: tuple[int, ...], data: Any
) -> None:
    made = output(name, *values)
    assert (made.name, made.datatype, made.shape) == (name, datatype, shape)
    assert made.data.shape == shape
    assert made.data.tolist() == data


def test_null_in_place_of_a_number_is_nan() -> None:
    first, second = output("number", None, 1.0).data.tolist()
    assert math.isnan(first)
    assert second == 1.0


@pytest.mark.parametrize(
    ("name", "values", "datatype"),
    [
        ("vector", [[1.0], [1.0, 2.0]], "FP64"),
        ("words", [["a"], ["a", "b"]], "BYTES"),
        ("count", [2**63], "INT64"),
        ("count", [-1, 2**63], "INT64"),
        ("count", [-(2**64)], "INT64"),
        ("count", [1.5], "INT64"),
        ("flag", [1], "BOOL"),
        ("text", [None], "BYTES"),
        ("number", ["text"], "FP64"),
    ],
)
def test_what_fits_into_no_tensor_is_refused(name: str, values: list[Any], datatype: str) -> None:
    with pytest.raises(TensorError) as caught:
        output(name, *values)
    assert str(caught.value) == (
        f'Output "{name}": these predictions do not fit into one tensor of {datatype}, because '
        "lists differ in length or a number is too large; ask for one row at a time, or for other "
        "outputs."
    )
