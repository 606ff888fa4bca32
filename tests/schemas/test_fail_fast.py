"""Validators that stop at the first problem of a list."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from models_api.schemas.fail_fast import fail_fast_list_validator, fail_fast_validator
from tests.fakes.costly import CostlyInput


class Row(BaseModel):
    values: list[int]
    named: dict[str, int] = {}
    type: set[int] = set()
    default: tuple[int, ...] = ()


class Rows(BaseModel):
    rows: list[Row]


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [None, None, None]},
        {"rows": [{"values": [None, None, None]}, None]},
        {"rows": [{"values": [], "type": ["a", "b"]}]},
        {"rows": [{"values": [], "default": ["a", "b"]}]},
    ],
)
def test_the_first_problem_of_a_list_is_enough(body: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        fail_fast_validator(Rows).validate_json(json.dumps(body))
    assert caught.value.error_count() == 1


def test_fields_that_are_no_lists_have_all_their_problems_told() -> None:
    schema = create_model("Flat", a=(int, ...), b=(int, ...))
    with pytest.raises(ValidationError) as caught:
        fail_fast_validator(schema).validate_json("{}")
    assert caught.value.error_count() == 2


def test_what_fits_is_an_instance_of_the_schema() -> None:
    found = fail_fast_validator(Rows).validate_json('{"rows": [{"values": [1], "type": [1]}]}')
    assert found == Rows(rows=[Row(values=[1], type={1})])
    assert type(found.rows[0]) is Row


def test_lists_of_the_schema_are_validated_as_quickly() -> None:
    assert fail_fast_list_validator(Row).validate_python([{"values": [1]}]) == [Row(values=[1])]
    with pytest.raises(ValidationError) as caught:
        fail_fast_list_validator(Row).validate_python([{}, {}])
    assert caught.value.error_count() == 1


def test_the_schemas_own_settings_hold() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        values: list[int]

    validate = fail_fast_validator(Strict).validate_json
    assert validate('{"values": [1]}') == Strict(values=[1])
    for body in ('{"values": ["1"]}', '{"values": [], "more": 1}'):
        with pytest.raises(ValidationError):
            validate(body)


@pytest.mark.parametrize(
    "body",
    [
        {"shapes": [{"a0": 1, "a1": 2, "a2": 3}]},
        {"pets": [{"kind": "cat"}, {"kind": "dog", "legs": 3}]},
        {"formula": {"terms": [{"is_product": False}, {"terms": [{}]}]}},
        {"defaults": [{}], "lists": [{}], "trees": [{"children": [{}]}], "text": '[{"x": 1}]'},
        {"members": [1, 2], "pairs": [[1, "a"]], "mapping": {"a": 1}, "mappings": [{"a": {}}]},
        {"decimals": ["1.5"], "times": [0], "urls": ["a:b"], "scalars": ["1", 2], "wrapped": [1]},
        {"checked": [{"x": 1}], "lenient": [None], "open": {"y": 1}, "choices": [[1.5]]},
    ],
)
def test_it_makes_the_same_as_the_schema_of_every_kind_of_value(body: Any) -> None:
    text = json.dumps(body)
    found = fail_fast_validator(CostlyInput).validate_json(text)
    assert found == CostlyInput.model_validate_json(text)
    assert found.model_fields_set == set(body)
