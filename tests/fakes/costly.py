"""Models whose inputs are dear to validate, each in its own way."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union
from uuid import UUID

from ml_base import MLModel
from pydantic import (
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    RootModel,
    create_model,
    field_validator,
)


def _shape(name: str, fields: int, *, is_required: bool) -> type[BaseModel]:
    wanted: dict[str, Any] = {
        f"{name.lower()}{index}": (int, ... if is_required else index) for index in range(fields)
    }
    return create_model(name, **wanted)


Shape = Union[tuple(_shape(name, 3, is_required=True) for name in "ABCDEF")]  # type: ignore[valid-type] # noqa: UP007
Loose = Union[tuple(_shape(f"Loose{name}", 3, is_required=False) for name in "ABCDEF")]  # type: ignore[valid-type] # noqa: UP007
ManyShapes = Union[  # type: ignore[valid-type] # noqa: UP007
    tuple(_shape(f"Many{index}", 8, is_required=True) for index in range(25))
]


class Point(BaseModel):
    x: int = 0


class Nested(BaseModel):
    point: Point = Point()


class Deep(BaseModel):
    nested: Nested = Nested()


class Defaults(BaseModel):
    first: Deep = Deep()
    second: Deep = Field(default_factory=Deep)


Lists = create_model(
    "Lists",
    **{f"list{index}": (list[int], Field(default_factory=list)) for index in range(50)},  # type: ignore[call-overload]
)


class Long(BaseModel):
    values: list[int] = list(range(1000))


class Tree(BaseModel):
    children: list[Tree] = []


class Sum(BaseModel):
    terms: list[Sum | Product] = []
    is_sum: bool = True


class Product(BaseModel):
    terms: list[Sum | Product] = []
    is_product: bool = True


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    legs: int = 4


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 0


class Checked(BaseModel):
    x: int = 0

    @field_validator("x")
    @classmethod
    def check(cls, value: int) -> int:
        if value < 0:
            raise ValueError("x is negative")
        return value


class Wrapped(RootModel[int]):
    pass


Scalars = int | float | Decimal | datetime | UUID
Lenient = Annotated[float, BeforeValidator(lambda value: 0.0 if value is None else value)]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Words = Literal[tuple(f"a word of some length, the {index}th" for index in range(200))]  # type: ignore[valid-type]


class CostlyInput(BaseModel):
    """All of these are lists of what is dear, each in its own way."""

    numbers: list[float] = []
    strings: list[str] = []
    shapes: list[Shape] = []  # type: ignore[valid-type]
    many_shapes: list[ManyShapes] = []  # type: ignore[valid-type]
    loose: list[Loose] = []  # type: ignore[valid-type]
    points: list[Point] = []
    defaults: list[Defaults] = []
    lists: list[Lists] = []
    long: list[Long] = []
    trees: list[Tree] = []
    formula: Sum | Product | None = None
    bits: list[Literal[0, 1]] = []
    words: list[Words] = []  # type: ignore[valid-type]
    colours: list[Colour] = []
    decimals: list[Decimal] = []
    times: list[datetime] = []
    urls: list[AnyUrl] = []
    scalars: list[Scalars] = []
    pets: list[Pet] = []
    checked: list[Checked] = []
    lenient: list[Lenient] = []
    wrapped: list[Wrapped] = []
    members: set[int] = set()
    pairs: list[tuple[int, str]] = []
    mapping: dict[str, int] = {}
    mappings: list[dict[str, Point]] = []
    matrices: list[list[list[float]]] = []
    choices: list[list[int] | list[float] | list[datetime]] = []
    anything: list[Any] = []
    text: Json[list[Point]] | None = None
    closed: Closed | None = None
    open: Open | None = None


FIELDS = tuple(CostlyInput.model_fields)


class CostlyOutput(BaseModel):
    count: int


class CostlyModel(MLModel):
    """The base of models that take one of those fields."""

    display_name, version, description = "Costly", "1.0.0", "Takes what is dear to validate."
    output_schema = CostlyOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> CostlyOutput:
        return CostlyOutput(count=len(vars(data)))


def single_field(field: str) -> type[BaseModel]:
    """Make the schema of an input that has only one of the fields."""
    info = CostlyInput.model_fields[field]
    fields: dict[str, Any] = {field: (info.annotation, info)}
    return create_model(f"{field.title()}Input", **fields)


def _model(field: str) -> type[CostlyModel]:
    named = {"qualified_name": field, "input_schema": single_field(field)}
    return type(f"{field.title()}Model", (CostlyModel,), named)


MODELS = {field: _model(field) for field in FIELDS}
globals().update({model.__name__: model for model in MODELS.values()})
