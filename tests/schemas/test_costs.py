"""What it costs to validate a JSON value, estimated from the schema."""

from __future__ import annotations

from typing import Annotated, Any, Union

import pytest
from pydantic import BaseModel, BeforeValidator, Field, RootModel, create_model

from models_api.schemas.costs import Cost, costs_of
from tests.fakes import awkward
from tests.fakes.costly import MODELS


def cost(type_: Any) -> Cost:
    return costs_of(create_model("Holder", values=(list[type_], ...))).dearest


class Point(BaseModel):
    x: int
    y: int = 0


class Other(BaseModel):
    name: str


class Owner(BaseModel):
    point: Point = Point(x=1)


class Made(BaseModel):
    owner: Owner = Field(default_factory=Owner)


class Frozen(BaseModel, frozen=True):
    x: int = 0


class Family(BaseModel):
    parents: list[Family] = []
    partner: Family | None = None


@pytest.mark.parametrize(
    "type_", [int, float, str, bool, None, list[int], tuple[int, ...], dict[str, int], Any]
)
def test_a_plain_value_costs_one(type_: Any) -> None:
    assert cost(type_).other == 1.0


@pytest.mark.parametrize(
    ("cheap", "dear"),
    [
        (Point, Point | Other),
        (Point, list[Point | Other]),
        (Point, Owner),
        (Owner, Made),
        (Frozen, Owner),
        (Point, Annotated[Point, BeforeValidator(lambda value: value)]),
        (Point, create_model("Wide", **{f"f{i}": (int, 0) for i in range(100)})),  # type: ignore[call-overload]
        (create_model("Short", x=(list[int], [0])), create_model("Long", x=(list[int], [0] * 99))),
        (Point, dict[str, Point | Other]),
    ],
)
def test_an_object_costs_more_where_more_is_made_of_it(cheap: Any, dear: Any) -> None:
    assert cost(dear).object > cost(cheap).object


@pytest.mark.parametrize(
    "dear", [int | float, RootModel[int], Annotated[int, BeforeValidator(int)]]
)
def test_a_value_costs_more_where_more_is_done_with_it(dear: Any) -> None:
    assert cost(dear).other > cost(int).other


def test_a_field_is_paid_for_by_its_object_since_there_is_only_one() -> None:
    inner = create_model("Inner", one=(int | float | str, ...), many=(list[int], ...))
    assert cost(inner).other == 1.0
    assert (
        cost(inner).object
        > cost(create_model("Plain", one=(int, ...), many=(list[int], ...))).object
    )


def test_each_field_that_has_to_be_there_is_a_problem_where_it_is_not() -> None:
    assert cost(Point).object_problems == 1.0
    many = create_model("Many", **{f"f{i}": (int, ...) for i in range(10)})  # type: ignore[call-overload]
    assert cost(many).object_problems == 10.0
    assert cost(Union[many, Point]).object_problems == 11.0  # noqa: UP007
    assert cost(Union[many, Point]).other_problems == 2.0  # noqa: UP007


def test_a_field_may_have_a_name_that_core_schemas_have_too() -> None:
    names: dict[str, Any] = dict.fromkeys(("type", "default", "config"), (Point | Other, ...))
    named = create_model("Named", **names)
    plain = create_model("Plain", **{f"f{name}": value for name, value in names.items()})
    assert cost(named) == cost(plain)


def test_a_schema_that_holds_itself_once_costs_the_same_at_every_depth() -> None:
    found = costs_of(Family)
    assert not found.is_endless
    assert found.dearest.object < 20


def test_a_schema_that_holds_itself_twice_costs_more_at_every_depth() -> None:
    found = costs_of(MODELS["formula"].input_schema)
    assert found.is_endless
    assert found.up_to(4).object < found.up_to(8).object < found.up_to(12).object


@pytest.mark.parametrize(
    "model",
    [each for each in vars(awkward).values() if hasattr(each, "input_schema")],
    ids=lambda model: model.__name__,
)
def test_every_schema_has_a_price(model: Any) -> None:
    schema = model.input_schema
    if isinstance(schema, type):
        assert min(costs_of(schema).dearest) >= 1.0
