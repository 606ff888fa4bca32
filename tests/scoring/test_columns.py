"""Which column is which field, and what cells stand for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import IntEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from models_api.schemas.json_schema import json_schema
from models_api.scoring.columns import MISSING, Column, InputSchema
from models_api.scoring.errors import JobRefused
from tests.fakes.scoring import Customer


class Level(IntEnum):
    LOW = 1


class Vector(BaseModel):
    features: list[float]


class Every(BaseModel):
    number: float
    integer: int
    either: int | float
    flag: bool
    text: str
    decimal: Decimal
    day: date
    maybe: int | None
    maybe_text: str | None
    word: Literal["a", "b"]
    level: Level
    items: list[float]
    anything: Any
    truth_or_number: bool | int


def column(schema: type[BaseModel], name: str) -> Column:
    given = [*{name, *json_schema(schema, "validation").get("required", [])}]
    found = InputSchema(json_schema(schema, "validation")).columns(given, "rows.csv")
    own = dict(zip(given, found, strict=True))[name]
    assert own is not None
    return own


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("number", "5", 5.0),
        ("number", "-1.5e3", -1500.0),
        ("number", " 5.5 ", 5.5),
        ("number", "+.5", 0.5),
        ("number", "5,5", "5,5"),
        ("number", "nan", "nan"),
        ("number", "True", True),
        ("integer", " false", False),
        ("maybe", "TRUE", True),
        ("number", "yes", "yes"),
        ("decimal", "true", "true"),
        ("number", "1e999", "1e999"),
        ("number", "1_000", "1_000"),
        ("number", "1-2", "1-2"),
        ("number", "٣", "٣"),
        ("number", "", MISSING),
        ("integer", "5", 5),
        ("integer", "-0", 0),
        ("integer", "007", 7),
        ("integer", "1.0", 1.0),
        ("integer", "9" * 30, int("9" * 30)),
        ("integer", "9" * 5000, "9" * 5000),
        ("integer", "five", "five"),
        ("either", "5", 5),
        ("either", "5.0", 5.0),
        ("flag", "TRUE", True),
        ("flag", "false ", False),
        ("flag", "yes", "yes"),
        ("flag", "1", "1"),
        ("text", "5", "5"),
        ("text", " x ", " x "),
        ("text", "true", "true"),
        ("text", "", ""),
        ("decimal", "0.10", "0.10"),
        ("decimal", "", MISSING),
        ("day", "2026-01-31", "2026-01-31"),
        ("day", "", MISSING),
        ("maybe", "", None),
        ("maybe", "5", 5),
        ("maybe", "null", "null"),
        ("maybe_text", "", None),
        ("maybe_text", "NA", "NA"),
        ("word", "a", "a"),
        ("word", "", MISSING),
        ("level", "1", 1),
        ("items", "[1, 2.5]", [1, 2.5]),
        ("items", "[1, 2", "[1, 2"),
        ("items", "[NaN]", "[NaN]"),
        ("items", "", MISSING),
        ("anything", '{"a": null}', {"a": None}),
        ("anything", "plain", "plain"),
        ("anything", "", MISSING),
        ("truth_or_number", "true", True),
        ("truth_or_number", "3", 3),
    ],
)
def test_a_cell_stands_for_a_value_of_its_field(field: str, cell: str, value: object) -> None:
    found = column(Every, field).type.value(cell)
    assert found == value or found is value
    assert type(found) is type(value)


def test_many_cells_have_the_values_that_each_has_alone() -> None:
    many = [
        ["1", "2", "3"],
        ["1.5", "-2e3", "+.5"],
        ["1", "", "2.0"],
        ["1e999", "1"],
        [" 1", "1"],
        ["1_0", "1"],
        ["", ""],
        ["true", "FALSE"],
        ["1", "True", "0.5"],
        ["9" * 5000, "1"],
        ["-", "+"],
        ["٣", "é"],
    ]
    for field in Every.model_fields:
        kind = column(Every, field).type
        for cells in many:
            alone = [kind.value(cell) for cell in cells]
            together = kind.values(cells)
            assert [(type(v), v) for v in together] == [(type(v), v) for v in alone], (field, cells)


def test_names_are_those_of_the_json_with_dots_for_objects_in_objects() -> None:
    names = ["fullName", "age", "income", "name", "address.street", "address.number", "address.x"]
    found = InputSchema(json_schema(Customer, "validation")).columns(names, "rows.csv")
    paths = [each and each.path for each in found]
    assert paths == [
        ("fullName",),
        ("age",),
        ("income",),
        None,
        ("address", "street"),
        ("address", "number"),
        None,
    ]


class Dotted(BaseModel):
    a_b: int = Field(alias="a.b")


class Open(BaseModel, extra="allow"):
    x: int


class Node(BaseModel):
    value: int
    next: Node | None = None


def test_a_field_whose_own_name_has_a_dot_comes_first() -> None:
    assert column(Dotted, "a.b").path == ("a.b",)


def test_fields_that_a_schema_does_not_name_are_taken_where_it_allows_them() -> None:
    assert column(Open, "other").type.value("5") == 5
    assert column(Open, "other").type.value("text") == "text"


def test_an_object_that_holds_its_own_kind_has_columns_as_deep_as_they_are_named() -> None:
    names = ["value", "next.next.value"]
    found = InputSchema(json_schema(Node, "validation")).columns(names, "rows.csv")
    assert [each and each.path for each in found] == [("value",), ("next", "next", "value")]


@pytest.mark.parametrize(
    ("schema", "names", "message"),
    [
        (Customer, ["age", "income"], 'rows.csv: there is no column "fullName", which the model'),
        (Customer, ["age", "incom", "fullName"], 'Is "incom" meant to be "income"?'),
        (
            Customer,
            ["age", "age", "income", "fullName"],
            'rows.csv: there is more than one column "age".',
        ),
        (Vector, ["a", "b"], '"features" is a list: write it as JSON into one cell'),
        (Vector, ["feature"], 'Is "feature" meant to be "features"?'),
        (RootModel[list[int]], ["x"], "rows.csv: the model takes no fields with names"),
    ],
)
def test_columns_that_cannot_be_rows_are_refused(
    schema: type[BaseModel], names: list[str], message: str
) -> None:
    with pytest.raises(JobRefused) as refused:
        InputSchema(json_schema(schema, "validation")).columns(names, "rows.csv")
    assert message in str(refused.value)


def test_columns_without_a_name_may_be_there_more_than_once() -> None:
    found = InputSchema(json_schema(Node, "validation")).columns(["value", "", ""], "rows.csv")
    assert found[1:] == [None, None]
