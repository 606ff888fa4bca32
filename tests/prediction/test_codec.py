"""Parsing and serialising."""

import json
import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticSerializationError

from models_api.exceptions import (
    InputProblem,
    InvalidInput,
)
from models_api.prediction.codec import parse, serialise

NOT_FINITE = "Input should be a finite number"
T = TypeVar("T")


def problems_of(body: str | bytes, schema: type[BaseModel]) -> list[InputProblem]:
    with pytest.raises(InvalidInput) as caught:
        parse(body if isinstance(body, bytes) else body.encode(), schema)
    return list(caught.value.problems)


@pydantic_dataclass
class Point:
    x: float
    y: float = 0.0


class Inner(BaseModel):
    value: float


class Everything(BaseModel):
    """Floats in every place where a schema can have them."""

    model_config = ConfigDict(populate_by_name=True)

    x: float = 0.0
    many: list[float] = []
    pair: tuple[float, str] | None = None
    unique: set[float] = set()
    frozen: frozenset[float] = frozenset()
    queue: deque[float] = deque()
    named: dict[str, float] = {}
    keyed: dict[float, str] = {}
    inner: Inner | None = None
    inners: list[Inner] = []
    point: Point | None = None
    root: RootModel[list[float]] | None = None
    plane: complex | None = None
    maybe: float | None = None
    aliased: float = Field(default=0.0, alias="Aliased")
    chosen: float = Field(default=0.0, validation_alias=AliasChoices("chosen_1", "chosen_2"))
    hidden: float = Field(default=0.0, exclude=True)
    amount: Decimal = Decimal(0)
    text: str = ""
    whole: int = 0
    anything: Any = None


MANY_NINES = "9" * 400
UNDERSCORED = "9_" * 399 + "9"


@pytest.mark.parametrize(
    ("body", "location"),
    [
        # Numbers in JSON's own grammar that no float holds.
        ('{"x": 1e999}', ("x",)),
        ('{"x": -1e999}', ("x",)),
        ('{"x": 1E+999}', ("x",)),
        ('{"x": 1.0e0309}', ("x",)),
        ('{"many": [1, 2, 1e999]}', ("many", 2)),
        ('{"inner": {"value": 1e999}}', ("inner", "value")),
        ('{"inners": [{"value": 1}, {"value": 1e999}]}', ("inners", 1, "value")),
        ('{"pair": [1e999, ""]}', ("pair", 0)),
        ('{"amount": 1e999}', ("amount",)),
        ('{"anything": {"deep": [1e999]}}', ("anything", "deep", 0)),
        ('{"unknown": {"deep": [0, 1e999]}}', ("unknown", "deep", 1)),
        # Integers that become infinite in a float field.
        (f'{{"x": {MANY_NINES}}}', ("x",)),
        (f'{{"x": -{MANY_NINES}}}', ("x",)),
        (f'{{"many": [0, {MANY_NINES}]}}', ("many", 1)),
        (f'{{"named": {{"key": {MANY_NINES}}}}}', ("named", "key")),
        # Strings that pydantic reads as numbers.
        ('{"x": "NaN"}', ("x",)),
        ('{"x": "nan"}', ("x",)),
        ('{"x": " nan "}', ("x",)),
        ('{"x": "n_an"}', ("x",)),
        ('{"x": "-Infinity"}', ("x",)),
        ('{"x": "+inf"}', ("x",)),
        ('{"x": "1e999"}', ("x",)),
        ('{"x": "1e9_99"}', ("x",)),
        ('{"x": "1_e999"}', ("x",)),
        (f'{{"x": "{MANY_NINES}"}}', ("x",)),
        (f'{{"x": "{UNDERSCORED}"}}', ("x",)),
        ('{"maybe": "nan"}', ("maybe",)),
        # ... also when they are written in escapes.
        ('{"x": "\\u004eaN"}', ("x",)),
        ('{"x": "\\u006e\\u0061\\u006e"}', ("x",)),
        ('{"x": "\\u0049nfinity"}', ("x",)),
        ('{"x": "1\\u0065999"}', ("x",)),
        ('{"x": "1\\u0045999"}', ("x",)),
        # ... and wherever a float can be.
        ('{"many": ["1", "nan"]}', ("many", 1)),
        ('{"pair": ["nan", ""]}', ("pair", 0)),
        ('{"unique": ["nan"]}', ("unique", 0)),
        ('{"frozen": ["nan"]}', ("frozen", 0)),
        ('{"queue": ["nan"]}', ("queue", 0)),
        ('{"named": {"key": "nan"}}', ("named", "key")),
        ('{"keyed": {"NaN": ""}}', ("keyed", "nan", "[key]")),
        ('{"inner": {"value": "nan"}}', ("inner", "value")),
        ('{"inners": [{"value": 1}, {"value": "nan"}]}', ("inners", 1, "value")),
        ('{"point": {"x": 1, "y": "nan"}}', ("point", "y")),
        ('{"root": [1, "nan"]}', ("root", 1)),
        ('{"plane": "nan+1j"}', ("plane",)),
        ('{"Aliased": "nan"}', ("Aliased",)),
        ('{"hidden": "nan"}', ("hidden",)),
        ('{"chosen_2": "nan"}', ("chosen",)),
    ],
)
def test_a_number_that_is_not_finite_is_refused_in_every_disguise(
    body: str, location: tuple[str | int, ...]
) -> None:
    assert problems_of(body, Everything) == [InputProblem(location, "finite_number", NOT_FINITE)]


@pytest.mark.parametrize(
    "body",
    [
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": -Infinity}',
        '{"x": nan}',
        '{"many": [1, NaN]}',
        '{"unknown": NaN}',
        '{"unknown": [{"deep": -Infinity}]}',
        '{"x": NaN, "x": 1}',
    ],
)
def test_words_that_json_does_not_have_are_refused_as_no_json(body: str) -> None:
    (problem,) = problems_of(body, Everything)
    assert (problem.location, problem.type) == ((), "json_invalid")
    assert problem.message.startswith("Invalid JSON: ")
    assert "line 1 column" in problem.message


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ('{"text": "nan"}', "text", "nan"),
        ('{"text": "Infinity and banana"}', "text", "Infinity and banana"),
        ('{"text": "1e999"}', "text", "1e999"),
        ('{"anything": "NaN"}', "anything", "NaN"),
        ('{"unknown": "NaN"}', "x", 0.0),
        (f'{{"whole": {MANY_NINES}}}', "whole", int(MANY_NINES)),
        (f'{{"anything": {MANY_NINES}}}', "anything", int(MANY_NINES)),
        (f'{{"amount": "{MANY_NINES}"}}', "amount", Decimal(MANY_NINES)),
        ('{"amount": "1e999"}', "amount", Decimal("1e999")),
        ('{"x": 1e308}', "x", 1e308),
        ('{"x": -0}', "x", 0.0),
        ('{"x": 1e-999}', "x", 0.0),
        ('{"x": 0.' + "9" * 400 + "}", "x", 1.0),
        (f'{{"x": {"9" * 308}}}', "x", 1e308),
        ('{"x": "1_000.5"}', "x", 1000.5),
        ('{"plane": "1+2j"}', "plane", 1 + 2j),
    ],
)
def test_what_only_looks_like_such_a_number_is_accepted(body: str, name: str, value: Any) -> None:
    assert getattr(parse(body.encode(), Everything), name) == value


class WithDefaults(BaseModel):
    missing: float = math.nan
    age: Annotated[float, BeforeValidator(lambda age: math.nan if age == "?" else age)] = 0.0
    text: str = ""


@pytest.mark.parametrize("text", ["banana", "1e999", "plain"])
def test_nan_that_the_schema_itself_puts_in_is_accepted_whatever_else_is_sent(text: str) -> None:
    data = parse(json.dumps({"text": text}).encode(), WithDefaults)
    assert isinstance(data, WithDefaults)
    assert math.isnan(data.missing)


def test_nan_that_a_validator_makes_is_accepted() -> None:
    data = parse(b'{"age": "?", "text": "banana"}', WithDefaults)
    assert isinstance(data, WithDefaults)
    assert math.isnan(data.age)


def test_a_field_that_allows_nan_in_decimals_does_not_get_it_from_a_client() -> None:
    class Amount(BaseModel):
        amount: Decimal = Field(allow_inf_nan=True)

    assert problems_of('{"amount": "NaN"}', Amount) == [
        InputProblem(("amount",), "finite_number", NOT_FINITE)
    ]


def test_extra_keys_that_a_schema_keeps_are_looked_into() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        __pydantic_extra__: dict[str, float]

    assert problems_of('{"more": "nan", "less": 1}', Open) == [
        InputProblem(("more",), "finite_number", NOT_FINITE)
    ]


def test_a_computed_field_that_fails_is_not_asked_for() -> None:
    class Fragile(BaseModel):
        text: str

        @computed_field  # type: ignore[prop-decorator]
        @property
        def broken(self) -> float:
            raise ZeroDivisionError

    assert parse(b'{"text": "nan"}', Fragile) == Fragile(text="nan")


def test_all_numbers_that_are_not_finite_are_named_up_to_a_hundred() -> None:
    many = problems_of('{"many": [' + ",".join(["1e999"] * 101) + "]}", Everything)
    assert many[:2] == [
        InputProblem(("many", index), "finite_number", NOT_FINITE) for index in range(2)
    ]
    assert len(many) == 101
    assert many[100] == InputProblem(
        (), "too_many_problems", "There are too many problems to list them all."
    )
    assert len(problems_of('{"many": [' + ",".join(["1e999"] * 100) + "]}", Everything)) == 100


class Numbers(BaseModel):
    many: list[int]


@pytest.mark.parametrize(
    ("count", "listed", "last"),
    [
        (1, 1, "int_parsing"),
        (100, 100, "int_parsing"),
        (101, 101, "too_many_problems"),
        (10_000, 101, "too_many_problems"),
        (10_001, 1, "too_many_problems"),
    ],
)
def test_a_body_full_of_problems_is_not_answered_with_an_enormous_list(
    count: int, listed: int, last: str
) -> None:
    problems = problems_of(json.dumps({"many": ["a"] * count}), Numbers)
    assert (len(problems), problems[-1].type) == (listed, last)


def test_every_problem_has_its_location_kind_and_message() -> None:
    class Item(BaseModel):
        price: float = Field(gt=0)

    class Order(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str
        items: list[Item] = Field(alias="Items")

    assert problems_of('{"Items": [{"price": 1}, {"price": 0}, {}], "more": 1}', Order) == [
        InputProblem(("name",), "missing", "Field required"),
        InputProblem(("Items", 1, "price"), "greater_than", "Input should be greater than 0"),
        InputProblem(("Items", 2, "price"), "missing", "Field required"),
        InputProblem(("more",), "extra_forbidden", "Extra inputs are not permitted"),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"x": 1} x', "Invalid JSON: trailing characters at line 1 column 10"),
        (b"{'x': 1}", "Invalid JSON: key must be a string at line 1 column 2"),
        (b'{"x": 01}', "Invalid JSON: invalid number at line 1 column 8"),
        (b'{"x": "\xff"}', "Invalid JSON: invalid unicode code point at line 1 column 8"),
        (b'\xef\xbb\xbf{"x": 1}', "Invalid JSON: expected value at line 1 column 1"),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded at line 1 column 202"),
        (b'{"x":' * 100_000, "Invalid JSON: recursion limit exceeded at line 1 column 1006"),
        (
            b'{"anything": "\\ud800"}',
            "Invalid JSON: unexpected end of hex escape at line 1 column 21",
        ),
        (b'{"whole": ' + b"9" * 5000 + b"}", "Invalid JSON: number out of range at line 1 column"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(body: bytes, message: str) -> None:
    (problem,) = problems_of(body, Everything)
    assert (problem.location, problem.type) == ((), "json_invalid")
    assert problem.message.startswith(message)


@pytest.mark.parametrize("body", [b"null", b"1", b'"text"', b"[]", b"true"])
def test_json_of_another_kind_is_refused(body: bytes) -> None:
    (problem,) = problems_of(body, Everything)
    assert (problem.location, problem.type) == ((), "model_type")
    assert problem.message == "Input should be an object"


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert parse(b'{"x": 1, "x": 2}', Everything).x == 2  # type: ignore[attr-defined]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    when: datetime
    day: date
    lasting: timedelta
    pair: tuple[int, str]
    names: set[str]
    id: UUID
    raw: bytes
    kind: Literal["a", "b"]
    number: float


def test_a_strict_schema_takes_the_types_that_json_has_no_other_way_to_write() -> None:
    body = {
        "when": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "lasting": "PT1S",
        "pair": [1, "one"],
        "names": ["a"],
        "id": "8a3f0c3e-6f1b-4a57-9d0e-0b1f6f0a7c11",
        "raw": "bytes",
        "kind": "a",
        "number": 1,
    }
    assert parse(json.dumps(body).encode(), Strict) == Strict(
        when=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        day=date(2026, 1, 2),
        lasting=timedelta(seconds=1),
        pair=(1, "one"),
        names={"a"},
        id=UUID("8a3f0c3e-6f1b-4a57-9d0e-0b1f6f0a7c11"),
        raw=b"bytes",
        kind="a",
        number=1.0,
    )


def test_a_strict_schema_takes_no_numbers_in_strings() -> None:
    class StrictNumber(BaseModel):
        model_config = ConfigDict(strict=True)
        x: float

    assert problems_of('{"x": "nan"}', StrictNumber) == [
        InputProblem(("x",), "float_type", "Input should be a valid number")
    ]


def test_a_root_schema_takes_any_kind_of_json() -> None:
    assert parse(b"[1, 2]", RootModel[list[int]]) == RootModel[list[int]]([1, 2])
    assert parse(b"3", RootModel[int]) == RootModel[int](3)
    assert problems_of("[1, 1e999]", RootModel[list[float]])[0].location == (1,)
    assert problems_of('["nan"]', RootModel[list[float]])[0].location == (0,)
    assert problems_of('"nan"', RootModel[RootModel[float]])[0].location == ()


def test_aliases_of_every_kind_are_read() -> None:
    class Aliased(BaseModel):
        a: int = Field(alias="A")
        b: int = Field(validation_alias="B", serialization_alias="b_out")
        c: int = Field(validation_alias=AliasChoices("C", "c"))  # type: ignore[pydantic-alias]
        d: int = Field(validation_alias=AliasPath("D", 0))  # type: ignore[pydantic-alias]

    data = parse(b'{"A": 1, "B": 2, "c": 3, "D": [4]}', Aliased)
    assert (data.a, data.b, data.c, data.d) == (1, 2, 3, 4)  # type: ignore[attr-defined]


def test_what_a_validator_of_the_schema_raises_is_a_problem_of_the_input() -> None:
    class Checked(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _even(cls, x: int) -> int:
            if x % 2:
                raise ValueError("Only even numbers.")
            if x > 10:
                raise AssertionError("Only small numbers.")
            return x

        @model_validator(mode="after")
        def _not_zero(self) -> "Checked":
            if not self.x:
                raise ValueError("Not zero.")
            return self

        def model_post_init(self, _context: Any) -> None:
            if self.x == 4:
                raise ValueError("Not four.")

    def only_problem(body: str) -> InputProblem:
        (problem,) = problems_of(body, Checked)
        return problem

    assert only_problem('{"x": 1}') == InputProblem(
        ("x",), "value_error", "Value error, Only even numbers."
    )
    assert only_problem('{"x": 12}') == InputProblem(
        ("x",), "assertion_error", "Assertion failed, Only small numbers."
    )
    assert only_problem('{"x": 0}') == InputProblem((), "value_error", "Value error, Not zero.")
    assert only_problem('{"x": 4}').type == "value_error"
    assert "Not four." in only_problem('{"x": 4}').message


def test_what_pydantic_lets_through_is_a_problem_of_the_input_all_the_same() -> None:
    class Derived(BaseModel):
        x: str
        y: int = Field(default_factory=lambda data: int(data["x"]))

    assert problems_of('{"x": "a"}', Derived) == [
        InputProblem((), "value_error", "invalid literal for int() with base 10: 'a'")
    ]


# Serialising


class Colour(Enum):
    RED = "red"


class Out(BaseModel):
    x: float = 0.0
    label: str = ""
    anything: Any = None


class Row(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    whole: int = 0
    number: float = 0.0
    flag: bool = False
    text: str = ""
    numbers: list[float] = []
    matrix: list[list[int]] = []
    named: dict[str, float] = {}
    pair: tuple[int, float] | None = None
    inner: Inner | None = None
    inners: list[Inner] = []
    anything: Any = None


def constructed(schema: Any, **values: Any) -> Any:
    """An instance that was never validated."""
    return schema.model_construct(**values)


class NotOut(BaseModel):
    x: float
    label: str = "other"


@dataclass
class PlainDataclass:
    x: Any
    label: str = "dataclass"


class NamedOut(NamedTuple):
    x: float
    label: str = "named"


class Attributes:
    def __init__(self) -> None:
        self.x, self.label, self.anything = 4.0, "attributes", None


@pytest.mark.parametrize(
    ("prediction", "written"),
    [
        (Out(x=1), '{"x":1.0,"label":"","anything":null}'),
        ({"x": 1}, '{"x":1.0,"label":"","anything":null}'),
        ({"x": "1.5"}, '{"x":1.5,"label":"","anything":null}'),
        ({"x": np.float32(0.5)}, '{"x":0.5,"label":"","anything":null}'),
        ({"x": np.array(0.5)}, '{"x":0.5,"label":"","anything":null}'),
        ({"x": 1, "unknown": object()}, '{"x":1.0,"label":"","anything":null}'),
        (NotOut(x=2), '{"x":2.0,"label":"other","anything":null}'),
        (PlainDataclass(3), '{"x":3.0,"label":"dataclass","anything":null}'),
        (PlainDataclass(np.float32(3)), '{"x":3.0,"label":"dataclass","anything":null}'),
        (NamedOut(1), '{"x":1.0,"label":"named","anything":null}'),
        (Attributes(), '{"x":4.0,"label":"attributes","anything":null}'),
        (Out(anything=NotOut(x=1)), '{"x":0.0,"label":"","anything":{"x":1.0,"label":"other"}}'),
        (
            Out(anything=PlainDataclass(1)),
            '{"x":0.0,"label":"","anything":{"x":1,"label":"dataclass"}}',
        ),
    ],
)
def test_whatever_has_the_schemas_fields_is_a_prediction(prediction: Any, written: str) -> None:
    assert serialise(prediction, Out).decode() == written


NUMPY_VALUES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"whole": np.int64(3)}, {"whole": 3}),
    ({"whole": np.uint8(3)}, {"whole": 3}),
    ({"number": np.float64(0.5)}, {"number": 0.5}),
    ({"number": np.float32(0.5)}, {"number": 0.5}),
    ({"number": np.float16(0.5)}, {"number": 0.5}),
    ({"number": np.int32(2)}, {"number": 2.0}),
    ({"flag": np.bool_(True)}, {"flag": True}),
    ({"text": np.str_("text")}, {"text": "text"}),
    ({"numbers": np.array([0.5, 1.5])}, {"numbers": [0.5, 1.5]}),
    ({"numbers": [np.float32(0.5), 1.5]}, {"numbers": [0.5, 1.5]}),
    ({"numbers": (np.float32(0.5), 1.5)}, {"numbers": [0.5, 1.5]}),
    ({"numbers": deque([np.float32(0.5)])}, {"numbers": [0.5]}),
    ({"matrix": np.eye(2, dtype=int)}, {"matrix": [[1, 0], [0, 1]]}),
    ({"matrix": [np.array([1, 2]), [np.int8(3)]]}, {"matrix": [[1, 2], [3]]}),
    ({"named": {"a": np.float32(0.5)}}, {"named": {"a": 0.5}}),
    ({"named": {np.str_("a"): 0.5}}, {"named": {"a": 0.5}}),
    ({"pair": (np.int64(1), np.float32(0.5))}, {"pair": [1, 0.5]}),
    ({"pair": np.array([1, 2])}, {"pair": [1, 2.0]}),
    ({"inner": {"value": np.float32(0.5)}}, {"inner": {"value": 0.5}}),
    ({"inners": [{"value": np.array(0.5)}]}, {"inners": [{"value": 0.5}]}),
    ({"anything": np.float32(0.5)}, {"anything": 0.5}),
    (
        {"numbers": [np.float32(0.5)], "anything": PlainDataclass(np.float32(0.5))},
        {"numbers": [0.5], "anything": {"x": 0.5, "label": "dataclass"}},
    ),
    ({"anything": np.arange(3)}, {"anything": [0, 1, 2]}),
    ({"anything": {"a": [np.int64(1), np.zeros(1)]}}, {"anything": {"a": [1, [0.0]]}}),
    ({"anything": np.datetime64("2026-01-02")}, {"anything": "2026-01-02"}),
    ({"anything": np.array(["a", "b"])}, {"anything": ["a", "b"]}),
    ({"anything": np.array([np.nan, 1.0])}, {"anything": [None, 1.0]}),
    ({"anything": {np.float32("nan")}}, {"anything": [None]}),
]


@pytest.mark.parametrize(("values", "written"), NUMPY_VALUES, ids=repr)
@pytest.mark.parametrize("make", [dict, Row.model_construct], ids=["dict", "model_construct"])
def test_numpy_becomes_numbers_and_lists(
    make: Any, values: dict[str, Any], written: dict[str, Any]
) -> None:
    expected = {**Row().model_dump(mode="json"), **written}
    assert json.loads(serialise(make(**values), Row)) == expected


def test_numpy_in_a_nested_model_that_was_not_validated_becomes_numbers() -> None:
    inner = constructed(Inner, value=np.float32(0.5))
    row = Row.model_construct(inner=inner, inners=[inner], anything=inner)
    written = json.loads(serialise(row, Row))
    half = {"value": 0.5}
    assert (written["inner"], written["inners"], written["anything"]) == (half, [half], half)


class Documented(BaseModel):
    """Serialised in a way that its own validation would not take back."""

    model_config = ConfigDict(extra="forbid")

    value: float = Field(alias="in", serialization_alias="out")
    day: date = date(2026, 1, 2)
    secret: str = Field(exclude=True)

    @field_serializer("day")
    def _spell_out(self, day: date) -> str:
        return f"{day:%d %B %Y}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> float:
        return 2 * self.value


@pytest.mark.parametrize(
    "prediction",
    [
        Documented.model_validate({"in": 0.5, "secret": "s"}),
        constructed(Documented, value=np.float32(0.5), secret="s"),
        {"in": 0.5, "secret": "s"},
        {"value": 0.5, "secret": "s"},
        {"value": np.float32(0.5), "secret": "s", "day": "2026-01-02"},
    ],
    ids=["instance", "constructed", "by alias", "by name", "numpy by name"],
)
def test_a_prediction_is_written_as_its_schema_documents_it(prediction: Any) -> None:
    assert json.loads(serialise(prediction, Documented)) == {
        "out": 0.5,
        "day": "02 January 2026",
        "twice": 1.0,
    }


class Generics(BaseModel, Generic[T]):
    value: T


class Leaf(BaseModel):
    kind: Literal["leaf"] = Field(alias="Kind")
    weight: float


class Branch(BaseModel):
    kind: Literal["branch"] = Field(alias="Kind")
    children: "list[Tree]"


Tree = Annotated[Leaf | Branch, Field(discriminator="kind")]


def test_a_tagged_union_with_aliases_and_numpy_in_it_is_written() -> None:
    leaf = constructed(Leaf, kind="leaf", weight=np.float32(0.5))
    tree = Branch.model_construct(kind="branch", children=[leaf])
    assert json.loads(serialise(tree, Branch)) == {
        "Kind": "branch",
        "children": [{"Kind": "leaf", "weight": 0.5}],
    }


@pytest.mark.parametrize(
    ("prediction", "schema", "written"),
    [
        (RootModel[list[float]]([1, 2]), RootModel[list[float]], "[1.0,2.0]"),
        ([1, 2], RootModel[list[float]], "[1.0,2.0]"),
        (np.array([1, 2]), RootModel[list[float]], "[1.0,2.0]"),
        (constructed(RootModel[list[float]], root=np.ones(1)), RootModel[list[float]], "[1.0]"),
        (np.float32(0.5), RootModel[float], "0.5"),
        (float("nan"), RootModel[float], "null"),
        (Generics[int](value=1), Generics[int], '{"value":1}'),
        ({"value": np.int64(1)}, Generics[int], '{"value":1}'),
    ],
    ids=repr,
)
def test_root_and_generic_schemas_are_written(
    prediction: Any, schema: type[BaseModel], written: str
) -> None:
    assert serialise(prediction, schema).decode() == written


class Kinds(BaseModel):
    when: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    day: date = date(2026, 1, 2)
    lasting: timedelta = timedelta(seconds=90)
    amount: Decimal = Decimal("1.10")
    raw: bytes = b"raw"
    colour: Colour = Colour.RED
    id: UUID = UUID(int=1)
    names: frozenset[str] = frozenset({"a"})
    large: int = 2**70
    text: str = 'quotes " \\ \u2028 é NaN'
    nothing: None = None


def test_types_that_json_does_not_have_are_written_as_pydantic_documents_them() -> None:
    assert json.loads(serialise(Kinds(), Kinds)) == {
        "when": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "lasting": "PT1M30S",
        "amount": "1.10",
        "raw": "raw",
        "colour": "red",
        "id": "00000000-0000-0000-0000-000000000001",
        "names": ["a"],
        "large": 2**70,
        "text": 'quotes " \\ \u2028 é NaN',
        "nothing": None,
    }


@pytest.mark.parametrize("mode", ["null", "constants", None])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_is_not_finite_is_written_as_null(mode: Any, value: float) -> None:
    class Configured(BaseModel):
        model_config: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan=mode) if mode else {}
        x: float
        text: str = "NaN and -Infinity"
        amount: Decimal = Decimal("1.10")
        large: int = 2**70
        anything: Any = None

    prediction = Configured(x=value, anything={"deep": [value]})
    assert json.loads(serialise(prediction, Configured)) == {
        "x": None,
        "text": "NaN and -Infinity",
        "amount": "1.10",
        "large": 2**70,
        "anything": {"deep": [None]},
    }


def test_a_schema_that_wants_such_numbers_as_strings_gets_them() -> None:
    class Configured(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="strings")
        x: float
        y: float

    assert json.loads(serialise(Configured(x=math.nan, y=-math.inf), Configured)) == {
        "x": "NaN",
        "y": "-Infinity",
    }


class Limited(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    x: float = Field(default=0.0, ge=0)
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    anything: Any = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def root(self) -> float:
        return math.sqrt(self.x)


@pytest.mark.parametrize(
    ("prediction", "error"),
    [
        (None, ValidationError),
        ("nonsense", ValidationError),
        (object(), ValidationError),
        ([1], ValidationError),
        ({"x": -1}, ValidationError),
        ({"x": "nonsense"}, ValidationError),
        ({"x": None}, ValidationError),
        ({"x": [np.float32(1)]}, ValidationError),
        (constructed(NotOut, x=object()), ValidationError),
        (constructed(Limited, x="nonsense"), ValidationError),
        (constructed(Limited, inner={"value": "nonsense"}), ValidationError),
        (constructed(Limited, x=-1.0), ValueError),
        (Limited(anything=object()), PydanticSerializationError),
        (Limited(anything=[{"deep": object()}]), PydanticSerializationError),
        (Limited(anything=b"\xff"), PydanticSerializationError),
        (Limited(anything="\ud800"), PydanticSerializationError),
        (Limited(anything=np.float32), Exception),
    ],
)
def test_what_does_not_fit_is_an_error(prediction: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        serialise(prediction, Limited)


class Grade(Enum):
    GOOD = "good"
    BAD = "bad"


class Scalars(BaseModel):
    truth: bool = True
    whole: int = 1
    real: float = 1.5
    text: str = "x"
    grade: Grade = Grade.GOOD


@pytest.mark.parametrize(
    ("field", "held", "written"),
    [
        ("real", 2.5, 2.5),
        ("real", 1, 1.0),
        ("real", np.float64(2.5), 2.5),
        ("real", np.float32(2.5), 2.5),
        ("real", "3.5", 3.5),
        ("real", math.inf, None),
        ("whole", 2.0, 2),
        ("whole", np.int64(7), 7),
        ("whole", True, 1),
        ("truth", 1, True),
        ("truth", np.bool_(False), False),
        ("text", np.str_("y"), "y"),
        ("grade", Grade.BAD, "bad"),
        ("grade", "bad", "bad"),
    ],
)
def test_a_scalar_is_written_as_its_field_declares(field: str, held: Any, written: Any) -> None:
    document = json.loads(serialise(constructed(Scalars, **{field: held}), Scalars))
    expected = Scalars().model_dump(mode="json") | {field: written}
    assert document == expected
    assert {name: type(value) for name, value in document.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("field", "held"),
    [("real", "much"), ("whole", 2.5), ("text", 5), ("grade", "worse"), ("truth", "perhaps")],
)
def test_a_scalar_that_is_not_what_its_field_declares_is_an_error(field: str, held: Any) -> None:
    with pytest.raises(ValidationError):
        serialise(constructed(Scalars, **{field: held}), Scalars)


def test_a_prediction_that_contains_itself_is_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises((ValueError, RecursionError)):
        serialise(Limited(anything=endless), Limited)


def test_an_instance_of_a_subclass_is_written_with_the_fields_of_the_schema() -> None:
    class More(Inner):
        secret: str = "s"

    assert serialise(More(value=1), Inner) == b'{"value":1.0}'
    assert serialise(Row(inner=More(value=1)), Row) == serialise(Row(inner=Inner(value=1)), Row)
