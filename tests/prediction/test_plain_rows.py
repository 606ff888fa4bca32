"""Rows without JSON between: the same objects and values as with it, or none."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    create_model,
    field_serializer,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json, to_json

from models_api.exceptions import InvalidInput
from models_api.prediction.codec import parse, serialise
from models_api.prediction.plain_rows import gather_columns, validate_rows


class Species(StrEnum):
    SETOSA = "setosa"
    VIRGINICA = "virginica"


class Grade(Enum):
    """Not a string itself, but its values are."""

    GOOD = "good"
    BAD = "bad"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


class Mixed(Enum):
    NUMBER = 1
    TEXT = "1"


class Temperature(float, Enum):
    COLD = 0.5
    WARM = 20.0


PLAIN: list[Any] = [
    *(bool, int, float, str),
    *(Species, Grade, Level, Temperature),
    *(list[float], list[list[int]], list[str], list[bool], list[Species]),
    *(float | None, int | None, Species | None, list[float] | None, bool | None, str | None),
    *(Literal["a", "setosa"], Literal[0, 3], Literal[True], Literal["a", None], Literal[1] | None),
    Annotated[float, Field(gt=0, lt=3)],
    Annotated[float, Field(allow_inf_nan=False, multiple_of=0.5)],
    Annotated[int, Field(ge=0, le=3)],
    Annotated[str, Field(pattern="^[a-z]+$", min_length=1, max_length=6)],
    Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)],
    Annotated[float, Field(strict=True)],
    Annotated[int, Field(strict=True)],
    Annotated[Species, Field(strict=True)],
]
NOT_PLAIN: list[Any] = [
    *(date, bytes, complex, Mixed, Any, dict[str, float], tuple[float, float], set[float]),
    *(float | str, Literal["a", 1], Literal[True, 1], Literal[None]),
    Annotated[float, AfterValidator(abs)],
    Annotated[float, PlainSerializer(str)],
    Annotated[list[float], AfterValidator(sorted)],
]
VALUES: dict[type, list[Any]] = {
    bool: [True, False],
    int: [0, 1, -1, 3, 2**63 - 1, -(2**63)],
    float: [0.0, -0.0, 0.5, 1.0, 2.5, 0.1 + 0.2, 1e-320, 1.7976931348623157e308, -1e300],
    str: ["", "a", "setosa", "good", "1", "true", "nan", "inf", "é", "\x00", "1e999", " a "],
}


def field(type_: Any) -> Any:
    return create_model("Schema", value=(type_, ...))


def by_json(rows: list[Any], schema: Any) -> list[Any]:
    batch = create_model("Batch", inputs=(list[schema], ...))
    data: Any = parse(b'{"inputs":' + to_json(rows) + b"}", batch)
    return list(data.inputs)


def exactly(value: Any) -> Any:
    """Describe what equality does not tell: types, and zeros with a sign."""
    if isinstance(value, BaseModel):
        return exactly(value.__dict__), value.model_fields_set
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(exactly, value))
    return type(value), repr(value)


def shapes(values: list[Any]) -> list[Any]:
    """Make scalars, and lists in which they may come."""
    return [*values, *([value] for value in values), values[:2], [values[:2]], [], [[]]]


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("type_", [*PLAIN, *NOT_PLAIN], ids=str)
def test_objects_are_those_that_json_gives(type_: Any, kind: type) -> None:
    schema = field(type_)
    for value in shapes(VALUES[kind]):
        rows = [{"value": value}, {"value": value}]
        found = validate_rows(rows, {"value": kind}, schema)
        if found is not None:
            assert exactly(found) == exactly(by_json(rows, schema)), value


@pytest.mark.parametrize(
    ("type_", "kind", "value"),
    [
        (bool, bool, True),
        (int, int, 2**63 - 1),
        (float, float, 0.1),
        (float, int, 3),
        (str, str, "é"),
        (float | None, float, 0.1),
        (Species, str, "setosa"),
        (Grade, str, "good"),
        (Level, int, 1),
        (Temperature, float, 0.5),
        (list[list[float]], float, [[0.5], [1.5]]),
        (Annotated[float, Field(gt=0, lt=3)], float, 1.5),
        (Annotated[str, Field(pattern="^[a-z]+$")], str, "a"),
    ],
    ids=str,
)
def test_plain_values_need_no_json(type_: Any, kind: type, value: Any) -> None:
    found = validate_rows([{"value": value}], {"value": kind}, field(type_))
    assert found is not None
    assert exactly(found) == exactly(by_json([{"value": value}], field(type_)))


@pytest.mark.parametrize("type_", NOT_PLAIN, ids=str)
def test_what_is_not_plain_needs_json(type_: Any) -> None:
    for kind, values in VALUES.items():
        for value in shapes(values):
            assert validate_rows([{"value": value}], {"value": kind}, field(type_)) is None


@pytest.mark.parametrize(
    ("type_", "kind", "value"),
    [
        (float, str, "1.5"),
        (float, bool, True),
        (int, float, 1.0),
        (int, bool, True),
        (bool, int, 1),
        (str, int, 1),
        (Level, bool, True),
        (float, None, 2**64 - 1),
        (float, float, [1.0]),
        (Annotated[float, Field(gt=0)], float, 0.0),
        (Species, str, "rose"),
        # A strict enum takes a string in JSON, and none in Python.
        (Annotated[Species, Field(strict=True)], str, "setosa"),
    ],
    ids=str,
)
def test_what_does_not_fit_in_kind_or_value_is_left_to_json(
    type_: Any, kind: type | None, value: Any
) -> None:
    assert validate_rows([{"value": value}], {"value": kind}, field(type_)) is None


def test_fields_may_be_left_out_or_have_other_names() -> None:
    class Schema(BaseModel):
        first: float = Field(alias="a")
        second: float = Field(validation_alias="b")
        third: int = 3
        fourth: Species = Species.SETOSA
        fifth: Species | None = None

    rows = [{"a": 1.5, "b": 2, "fifth": "virginica"}]
    kinds = {"a": float, "b": int, "fifth": str}
    found = validate_rows(rows, kinds, Schema)
    assert found is not None
    assert exactly(found) == exactly(by_json(rows, Schema))


@pytest.mark.parametrize("missing", [{}, {"b": 1.0}])
def test_a_field_that_is_missing_or_unknown_is_left_to_json(missing: dict[str, Any]) -> None:
    schema = create_model("Schema", a=(float, ...))
    kinds = dict.fromkeys(missing, float)
    assert validate_rows([missing], kinds, schema) is None
    with pytest.raises(InvalidInput):
        by_json([missing], schema)


class Base(BaseModel):
    value: float = 0.5


class WithInit(Base):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.value += 1


class WithValidator(Base):
    @model_validator(mode="before")
    @classmethod
    def change(cls, fields: Any) -> Any:
        return {"value": fields["value"] + 1}


class WithModelSerializer(Base):
    @model_serializer
    def change(self) -> dict[str, Any]:
        return {"value": self.value + 1}


class WithFieldSerializer(Base):
    @field_serializer("value")
    def change(self, value: float) -> float:
        return value + 1


class WithComputedField(Base):
    @computed_field
    def more(self) -> float:
        return self.value + 1


class WithExcludedField(Base):
    other: float = Field(default=0.5, exclude=True)


class WithOthers(Base, extra="allow"):
    pass


class WithEnumValues(BaseModel, use_enum_values=True):
    value: Species = Field(default=Species.SETOSA, validate_default=True)


class WithStrings(Base):
    model_config = ConfigDict(ser_json_inf_nan="strings")


class WithChoices(BaseModel):
    value: float = Field(validation_alias=AliasChoices("value", "v"))  # type: ignore[pydantic-alias]


class WithFactory(BaseModel):
    value: list[float] = Field(default_factory=list)


class Whole(RootModel[float]):
    pass


AWKWARD_INPUTS = [
    *(WithInit, WithValidator, WithComputedField, WithOthers, WithEnumValues, WithStrings),
    *(WithChoices, WithFactory, Whole),
]
AWKWARD_OUTPUTS: list[Callable[[], BaseModel]] = [
    *(WithModelSerializer, WithFieldSerializer, WithComputedField, WithExcludedField),
    *(WithEnumValues, WithStrings, WithFactory),
    lambda: WithOthers(value=1, other=2),  # type: ignore[call-arg]
    lambda: Whole(0.5),
]


@pytest.mark.parametrize("schema", AWKWARD_INPUTS)
def test_a_schema_that_does_more_needs_json(schema: type[BaseModel]) -> None:
    assert validate_rows([{"value": 0.5}], {"value": float}, schema) is None


@pytest.mark.parametrize("make", AWKWARD_OUTPUTS)
def test_a_prediction_that_is_written_otherwise_needs_json(make: Callable[[], BaseModel]) -> None:
    prediction = make()
    assert gather_columns([prediction], type(prediction)) is None


def test_a_schema_that_waits_for_a_name_needs_json() -> None:
    class Early(BaseModel):
        value: Late  # type: ignore[name-defined] # noqa: F821 (that is what it waits for)

    assert validate_rows([{"value": 0.5}], {"value": float}, Early) is None
    assert gather_columns([], Early) is None


@pytest.mark.parametrize("kind", [*VALUES, Species, Grade, Level, Temperature])
@pytest.mark.parametrize("type_", [*PLAIN, *NOT_PLAIN], ids=str)
def test_columns_are_those_that_json_gives(type_: Any, kind: type) -> None:
    schema = field(type_)
    values = list(kind) if issubclass(kind, Enum) else VALUES[kind]
    unlikely = [None, math.nan, math.inf, 2**63, 10**30, "\ud800"]
    for value in shapes([*values, *unlikely]):
        # Whatever a model gives, even past all validation.
        predictions = [schema.model_construct(value=value), schema.model_construct(value=value)]
        found = gather_columns(predictions, schema)
        if found is not None:
            expected = from_json(serialise(predictions[0], schema))["value"]
            assert exactly(found["value"]) == exactly([expected, expected]), value


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (bool, True, True),
        (int, -(2**63), -(2**63)),
        (float, 0.1, 0.1),
        (str, "é", "é"),
        (Species, Species.SETOSA, "setosa"),
        (Grade, Grade.GOOD, "good"),
        (Level, Level.HIGH, 1),
        (Literal["a", "b"], "a", "a"),
        (float | None, 0.5, 0.5),
        (float | None, None, None),
        (Species | None, Species.SETOSA, "setosa"),
        (Literal[1, None], None, None),
    ],
)
def test_columns_of_plain_values_need_no_json(type_: Any, value: Any, expected: Any) -> None:
    schema = field(type_)
    assert gather_columns([schema(value=value)] * 2, schema) == {"value": [expected] * 2}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (float, math.nan),
        (float, math.inf),
        (float, 1),
        (int, True),
        (int, 2**63),
        (int, -(2**63) - 1),
        (str, Species.SETOSA),
        (str, "\ud800"),
        (Species, "setosa"),
        (float | None, math.nan),
        (Literal["a"], "b"),
        (Literal[1], True),
        (int | None, 1.0),
        (list[float], [0.5]),
    ],
    ids=repr,
)
def test_columns_of_other_values_need_json(type_: Any, value: Any) -> None:
    schema = field(type_)
    right = schema.model_construct(value=value)
    assert gather_columns([right], schema) is None


def test_columns_are_named_as_in_json() -> None:
    class Schema(BaseModel):
        first: float = Field(alias="a")
        second: float = Field(serialization_alias="b")
        third: float = Field(validation_alias="c")

    prediction = Schema.model_validate({"a": 1, "second": 2, "c": 3})
    assert gather_columns([prediction], Schema) == {"a": [1.0], "b": [2.0], "third": [3.0]}


class Derived(Base):
    pass


@pytest.mark.parametrize("other", [Derived(), {"value": 0.5}, Base.model_construct(), None])
def test_predictions_that_are_not_all_of_the_schema_need_json(other: Any) -> None:
    if type(other) is Base:
        del other.__dict__["value"]
    assert gather_columns([Base(), other], Base) is None


class Colour(IntFlag):
    RED = 1
    BLUE = 2


def test_what_is_made_of_several_flags_needs_json() -> None:
    schema = field(Colour)
    red, both = schema(value=1), schema(value=3)
    assert gather_columns([red, red], schema) == {"value": [1, 1]}
    assert gather_columns([red, both], schema) is None
