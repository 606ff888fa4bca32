"""JSON that a JSON Schema refuses is refused."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic_core import ValidationError, from_json

from models_api.schemas.json_validator import json_validator

DEFINITIONS: dict[str, Any] = {
    "#/$defs/Tree": {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        "required": ["children"],
    },
    "#/$defs/Alias": {"$ref": "#/$defs/Tree"},
}
PAIR = {
    "type": "array",
    "prefixItems": [{"type": "number"}, {}],
    "minItems": 2,
    "maxItems": 2,
}
SCHEMAS: list[dict[str, Any]] = [
    {},
    *({"type": kind} for kind in ("null", "boolean", "integer", "number", "string", "array")),
    {"type": "object"},
    {"type": ["string", "null"], "maxLength": 1},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1.5},
    {"type": "integer", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "string", "minLength": 1, "pattern": "^a"},
    {"anyOf": [{"type": "number"}, {"type": "null"}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {"const": "a"},
    {"const": None},
    {"enum": ["a", "b", None]},
    {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 2},
    PAIR,
    {"type": "object", "additionalProperties": {"type": "number"}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {"a": {}},
        "additionalProperties": {"type": "string"},
    },
    {"$ref": "#/$defs/Tree"},
    {"$ref": "#/$defs/Alias"},
]
TEXTS = [
    *("null", "true", "0", "1", "-1", "1.5", "123456789012345678901234567890", '""', '"a"', '"ab"'),
    *("[]", "[1]", "[1, 2]", "[1, null]", "[null, 1]", '["a"]', "[1, 2, 3]", "[[]]"),
    *("{}", '{"a": 1}', '{"a": null}', '{"b": 1}', '{"a": 1, "b": "x"}', '{"a": 1, "b": 2}'),
    *('{"children": []}', '{"children": [{"children": []}]}', '{"children": [{}]}'),
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_json_is_taken_or_refused_as_the_schema_says(schema: dict[str, Any]) -> None:
    definitions = {name.rpartition("/")[2]: each for name, each in DEFINITIONS.items()}
    standard = Draft202012Validator({**schema, "$defs": definitions})
    validator = json_validator(schema, DEFINITIONS, with_patterns=True)
    for text in TEXTS:
        try:
            validator.validate_json(text)
            is_taken = True
        except ValidationError:
            is_taken = False
        assert is_taken == standard.is_valid(from_json(text)), text


def test_values_of_several_types_are_told_apart_by_their_types() -> None:
    validator = json_validator({"enum": ["a", 1]}, {})
    validator.validate_json('"a"')
    validator.validate_json("1")
    with pytest.raises(ValidationError):
        validator.validate_json("null")


def test_what_python_cannot_read_as_a_pattern_is_not_checked() -> None:
    schema = {"type": "string", "pattern": r"\p{L}("}
    json_validator(schema, {}, with_patterns=True).validate_json('"1"')


def test_an_error_says_where_and_what() -> None:
    validator = json_validator({"title": "Out", "type": "object", "properties": {"a": PAIR}}, {})
    with pytest.raises(ValidationError, match=r"(?s)error for Out\na\.0\n.*valid number"):
        validator.validate_json('{"a": [null, 1]}')
