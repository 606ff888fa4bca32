"""Which schemas are plain, and what their fields are called and hold."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from models_api.schemas.plain_fields import plain_schema
from tests.prediction.test_plain_rows import AWKWARD_INPUTS, Species


class Plant(BaseModel):
    height: float = Field(gt=0, validation_alias="h", serialization_alias="H")
    leaves: int | None = 3
    species: Species
    other: Species
    kind: Literal["tree", "bush"] | None
    rings: list[int] | None
    row: Literal[1, 2, None]


def test_the_fields_say_what_they_hold() -> None:
    plain = plain_schema(Plant, "validation_alias")
    assert plain is not None
    found = [
        (each.name, each.holds, each.enum, each.is_nullable, each.is_list) for each in plain.fields
    ]
    assert found == [
        ("height", float, None, False, False),
        ("leaves", int, None, True, False),
        ("species", str, Species, False, False),
        ("other", str, Species, False, False),
        ("kind", str, None, True, False),
        ("rings", int, None, True, True),
        ("row", int, None, True, False),
    ]
    takes = [each.takes for each in plain.fields]
    assert takes == [{float, int}, {int}, {str}, {str}, {str}, {int}, {int}]
    kind, rings, row = (each.choices for each in plain.fields[-3:])
    assert (kind, rings, row) == (frozenset({"tree", "bush"}), None, frozenset({1, 2}))
    only = [each.only_type for each in plain.fields]
    assert only == [float, None, Species, Species, None, None, None]
    members = plain.fields[2].members
    assert [members[id(species)] for species in Species] == ["setosa", "virginica"]


@pytest.mark.parametrize(
    ("alias", "key"), [("validation_alias", "h"), ("serialization_alias", "H")]
)
def test_a_field_has_the_key_of_either_direction(alias: str, key: str) -> None:
    plain = plain_schema(Plant, alias)
    assert plain is not None
    assert plain.fields[0].key == key


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_schema_says_whether_it_is_strict(is_strict: bool) -> None:
    schema = create_model("Schema", __config__=ConfigDict(strict=is_strict), value=(float, ...))
    plain = plain_schema(schema, "validation_alias")
    assert plain is not None
    assert (plain.is_strict, plain.has_hook) == (is_strict, False)


class Hooked(Plant):
    def model_post_init(self, context: Any) -> None:
        """Do nothing, which nobody can know."""


def test_a_schema_says_whether_its_instances_do_something_when_they_are_made() -> None:
    plain = plain_schema(Hooked, "validation_alias")
    assert plain is not None
    assert plain.has_hook


@pytest.mark.parametrize("schema", AWKWARD_INPUTS)
def test_a_schema_that_does_more_is_not_plain(schema: type[BaseModel]) -> None:
    assert plain_schema(schema, "validation_alias") is None
