"""Which tensor holds which field."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    RootModel,
    computed_field,
    create_model,
)

from models_api.open_inference.columns import Column, columns
from models_api.schemas.json_schema import Mode


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Nested(BaseModel):
    x: int


class Tree(BaseModel):
    children: list[Tree] = []
    depths: list[list[int]] = []


class Vector(RootModel[list[float]]):
    """A list with a name."""


Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
JSON = ("BYTES", (), "json", False)


def column_of(annotation: Any, mode: Mode) -> tuple[Any, ...]:
    schema = create_model("Schema", field=(annotation, ...))
    (column,) = columns(schema, mode)
    assert (column.name, column.is_required) == ("field", True)
    return column.datatype, column.dimensions, column.content_type, column.is_nullable


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, ("INT64", (), None, False)),
        (bool, ("BOOL", (), None, False)),
        (str, ("BYTES", (), "str", False)),
        (date, ("BYTES", (), "str", False)),
        (datetime, ("BYTES", (), "datetime", False)),
        (timedelta, ("BYTES", (), "str", False)),
        (UUID, ("BYTES", (), "str", False)),
        (bytes, ("BYTES", (), "str", False)),
        (Base64Bytes, ("BYTES", (), "base64", False)),
        (Colour, ("BYTES", (), "str", False)),
        (Size, ("INT64", (), None, False)),
        (Literal["a", "b"], ("BYTES", (), "str", False)),
        (Literal[1, 2], ("INT64", (), None, False)),
        (Literal[True], ("BOOL", (), None, False)),
        (bool | int, JSON),
        (list[float], ("FP64", (-1,), None, False)),
        (Pair, ("FP64", (2,), None, False)),
        (
            Annotated[list[Pair], Field(min_length=3, max_length=3)],
            ("FP64", (3, 2), None, False),
        ),
        (list[Pair], ("FP64", (-1, 2), None, False)),
        (tuple[int, float], ("FP64", (2,), None, False)),
        (tuple[int, str, bool], JSON),
        (tuple[str, ...], ("BYTES", (-1,), "str", False)),
        (set[int], ("INT64", (-1,), None, False)),
        (Vector, ("FP64", (-1,), None, False)),
        (list[Vector], ("FP64", (-1, -1), None, False)),
        (list[Nested], JSON),
        (Nested, JSON),
        (dict[str, float], JSON),
        (Any, JSON),
        (list[Any], JSON),
        (JsonValue, JSON),
        (Tree, JSON),
        (None, ("BYTES", (), "json", True)),
        (float | None, ("FP64", (), None, True)),
        (Nested | None, ("BYTES", (), "json", True)),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_a_field_has_the_tensor_of_its_type(
    annotation: Any, mode: Mode, expected: tuple[Any, ...]
) -> None:
    assert column_of(annotation, mode) == expected


@pytest.mark.parametrize(
    ("annotation", "taken", "given"),
    [
        (Decimal, ("BYTES", (), "str", False), ("BYTES", (), "str", False)),
        (int | str, ("BYTES", (), "str", False), JSON),
        (Mixed, ("BYTES", (), "str", False), JSON),
        # What a model gives may be NaN, which is null in JSON.
        (float, ("FP64", (), None, False), ("FP64", (), None, True)),
        (int | float, ("FP64", (), None, False), ("FP64", (), None, True)),
        (FiniteFloat, ("FP64", (), None, False), ("FP64", (), None, False)),
        (list[float | None], JSON, ("FP64", (-1,), None, False)),
        (int | None, ("INT64", (), None, True), ("BYTES", (), "json", True)),
        (str | None, ("BYTES", (), "str", True), ("BYTES", (), "json", True)),
        (Literal["a", None], ("BYTES", (), "str", True), ("BYTES", (), "json", True)),
        (list[float] | None, ("FP64", (-1,), None, True), ("BYTES", (), "json", True)),
    ],
    ids=str,
)
def test_what_may_be_several_things_is_taken_as_one_and_given_without_loss(
    annotation: Any, taken: tuple[Any, ...], given: tuple[Any, ...]
) -> None:
    assert column_of(annotation, "validation") == taken
    assert column_of(annotation, "serialization") == given


@pytest.mark.parametrize("annotation", [list[float], list[float | None], tuple[int, float]])
def test_lists_that_a_model_gives_may_hold_null(annotation: Any) -> None:
    (column,) = columns(create_model("Schema", field=(annotation, ...)), "serialization")
    assert (column.datatype, column.holds_null) == ("FP64", True)


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        (int, 0, ("INT64", (), None, False)),
        (bool, False, ("BOOL", (), None, False)),
        (str, "", ("BYTES", (), "str", False)),
        (list[int], [], ("INT64", (-1,), None, False)),
        (int, None, ("BYTES", (), "json", True)),
    ],
)
def test_a_field_with_a_default_is_always_given(
    annotation: Any, default: Any, expected: tuple[Any, ...]
) -> None:
    schema = create_model("Schema", field=(annotation, default))
    (taken,), (given,) = columns(schema, "validation"), columns(schema, "serialization")
    assert (taken.is_required, given.is_required) == (False, True)
    assert (given.datatype, given.dimensions, given.content_type, given.is_nullable) == expected


class Aliased(BaseModel):
    first: float = Field(alias="First")
    second: float = Field(default=1.0, validation_alias="second_in", serialization_alias="out")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def third(self) -> float:
        return 3.0


def test_tensors_have_the_names_of_the_json() -> None:
    taken, given = columns(Aliased, "validation"), columns(Aliased, "serialization")
    assert [(each.name, each.is_required) for each in taken] == [
        ("First", True),
        ("second_in", False),
    ]
    assert [each.name for each in given] == ["First", "out", "third"]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    x: float


def test_only_a_model_that_allows_other_fields_takes_other_tensors() -> None:
    assert columns(Open, "validation").takes_others
    assert not columns(Nested, "validation").takes_others


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (RootModel[float], Column("input", "FP64")),
        (RootModel[list[float]], Column("input", "FP64", (-1,))),
        (RootModel[dict[str, int]], Column("input", "BYTES", (), "json")),
        (create_model("Empty"), Column("input", "BYTES", (), "json")),
    ],
    ids=["number", "list", "mapping", "empty"],
)
def test_a_schema_without_fields_is_one_tensor(schema: type[BaseModel], expected: Column) -> None:
    found = columns(schema, "validation")
    assert (list(found), found.is_whole) == ([expected], True)
    (given,) = columns(schema, "serialization")
    assert given.name == "output"


@pytest.mark.parametrize(
    ("fields", "length", "names"),
    [
        ({"a": (float, ...), "b": (int, ...)}, 2, ["a", "b"]),
        ({"a": (float, ...), "b": (int, ...)}, None, ["a", "b"]),
        ({"a": (float, ...), "b": (int, ...)}, 1, None),
        ({"a": (str, ...), "b": (date, ...)}, 2, ["a", "b"]),
        ({"a": (str, ...), "b": (int, ...)}, 2, None),
        ({"a": (bool, ...), "b": (int, ...)}, 2, None),
        ({"a": (float, ...), "b": (list[float], ...)}, 2, None),
        ({"a": (float, ...), "b": (dict[str, int], ...)}, 2, None),
        ({"a": (float, ...), "b": (UUID, "")}, 1, ["a"]),
        ({"a": (float, ...), "b": (float, 0.0)}, 1, ["a"]),
        ({"a": (float, ...), "b": (float, 0.0)}, 2, ["a", "b"]),
    ],
)
def test_a_tensor_without_a_name_stands_for_scalars_of_one_kind(
    fields: dict[str, Any], length: int | None, names: list[str] | None
) -> None:
    found = columns(create_model("Schema", **fields), "validation").positional(length)
    assert (None if found is None else [column.name for column in found]) == names
