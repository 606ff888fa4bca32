"""Where two schemas do not accept the same."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from models_api.schemas.differences import difference
from models_api.schemas.json_schema import json_schema


class Point(BaseModel):
    x: float


class Place(BaseModel):
    x: float = Field(description="In metres.", title="East", examples=[1])


class Tree(BaseModel):
    below: list["Tree"] = []


class Bush(BaseModel):
    below: list["Bush"] = Field(default=[], description="Branches.")


class Label(BaseModel):
    title: str
    description: int = 0


class OtherLabel(BaseModel):
    title: int
    description: int = 0


def of(annotation: Any, **keys: Any) -> type[BaseModel]:
    return create_model("Row", field=(annotation, Field(**keys)))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (of(int), of(int, description="A", title="B", examples=[2]), None),
        (of(Point), of(Place), None),
        (of(list[Point]), of(list[Place]), None),
        (of(Literal["a", "b"]), of(Literal["b", "a"]), None),
        (of(int | str), of(str | int), None),
        (of(int, default=1), of(int, default=2), None),
        (Tree, Bush, None),
        (of(int), of(str), 'field: type is "integer", there "string"'),
        (of(int, ge=1), of(int), "field: minimum is 1, there missing"),
        (of(int), of(int, default=1), 'the whole: required is ["field"], there missing'),
        (of(Point), of(Label), "field.x: the field is"),
        (of(list[Point]), of(list[Label]), "field.[].x: the field is"),
        (of(Literal["a"]), of(Literal["b"]), 'field: const is "a", there "b"'),
        (Label, OtherLabel, 'title: type is "string", there "integer"'),
        (Tree, of(int), "below: the field is"),
    ],
)
def test_the_first_difference_of_what_schemas_accept_is_told(
    one: type[BaseModel], other: type[BaseModel], told: str | None
) -> None:
    found = difference(json_schema(one, "validation"), json_schema(other, "validation"))

    assert str(found).startswith(str(told))
