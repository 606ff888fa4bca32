"""JSON checked against a JSON Schema, such as pydantic makes it, by pydantic's own validators.

Types, null, required properties, constants, lengths and bounds are checked; the rest is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, core_schema

Schema = Mapping[str, Any]

_KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}
_NULL: Schema = {"type": "null"}


def json_validator(
    schema: Schema, definitions: Mapping[str, Schema], *, with_patterns: bool = False
) -> SchemaValidator:
    """Return what refuses JSON that a schema does not allow.

    Args:
        schema: The JSON Schema.
        definitions: By the reference to it, each schema that it refers to.
        with_patterns: Whether to check the patterns of strings, as Python reads them.
    """
    translation = _Translation(definitions, with_patterns)
    node = translation.node(schema)
    found = core_schema.definitions_schema(node, translation.definitions())
    return SchemaValidator(found, CoreConfig(strict=True, title=schema.get("title", "JSON")))


class _Translation:
    """From JSON Schemas to pydantic's core schemas."""

    def __init__(self, definitions: Mapping[str, Schema], with_patterns: bool) -> None:
        self._sources = definitions
        self._with_patterns = with_patterns
        self._references: list[str] = []

    def definitions(self) -> list[CoreSchema]:
        """Return what the nodes refer to."""
        found: list[CoreSchema] = []
        # Translating one may add others.
        for reference in self._references:
            node = self.node(self._sources[reference])
            if node["type"] == "definition-ref":
                node = core_schema.union_schema([node])
            found.append({**node, "ref": reference})
        return found

    def node(self, schema: object) -> CoreSchema:
        """Translate one schema."""
        if not isinstance(schema, dict):
            return core_schema.any_schema()
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema or "enum" in schema:
            return _one_of([schema["const"]] if "const" in schema else schema["enum"])
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices is None and isinstance(schema.get("type"), list):
            choices = [{**schema, "type": kind} for kind in schema["type"]]
        return self._choice(choices) if choices else self._of_type(schema)

    def _reference(self, reference: str) -> CoreSchema:
        if reference not in self._sources:
            return core_schema.any_schema()
        if reference not in self._references:
            self._references.append(reference)
        return core_schema.definition_reference_schema(reference)

    def _choice(self, choices: Sequence[Schema]) -> CoreSchema:
        others = [self.node(choice) for choice in choices if choice != _NULL]
        node = others[0] if len(others) == 1 else core_schema.union_schema([*others])
        return core_schema.nullable_schema(node) if len(others) < len(choices) else node

    def _of_type(self, schema: Schema) -> CoreSchema:
        kinds: dict[object, Callable[[Schema], CoreSchema]] = {
            "null": lambda _: core_schema.none_schema(),
            "boolean": lambda _: core_schema.bool_schema(),
            "integer": lambda schema: core_schema.int_schema(**_bounds(schema, int)),
            "number": lambda schema: core_schema.float_schema(**_bounds(schema, float)),
            "string": self._string,
            "array": self._array,
            "object": self._object,
        }
        make = kinds.get(schema.get("type"))
        return make(schema) if make else core_schema.any_schema()

    def _string(self, schema: Schema) -> CoreSchema:
        pattern = schema.get("pattern") if self._with_patterns else None
        return core_schema.str_schema(
            min_length=schema.get("minLength"),
            max_length=schema.get("maxLength"),
            pattern=pattern if pattern and _is_of_python(pattern) else None,
            regex_engine="python-re",
        )

    def _array(self, schema: Schema) -> CoreSchema:
        if "prefixItems" in schema:
            items = [self.node(item) for item in schema["prefixItems"]]
            if schema.get("maxItems") != len(items) or schema.get("minItems") != len(items):
                return core_schema.list_schema()
            return core_schema.tuple_schema(items)
        return core_schema.list_schema(
            self.node(schema.get("items")),
            min_length=schema.get("minItems"),
            max_length=schema.get("maxItems"),
        )

    def _object(self, schema: Schema) -> CoreSchema:
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema:
            others = True
        if "properties" not in schema:
            return core_schema.dict_schema(values_schema=self.node(others))
        required = schema.get("required", ())
        fields = {
            name: core_schema.typed_dict_field(self.node(value), required=name in required)
            for name, value in schema["properties"].items()
        }
        if others is False:
            return core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        return core_schema.typed_dict_schema(
            fields, extra_behavior="allow", extras_schema=self.node(others)
        )


def _one_of(values: Sequence[object]) -> CoreSchema:
    others = [value for value in values if value is not None]
    if not others:
        return core_schema.none_schema()
    node: CoreSchema = core_schema.union_schema(
        [
            _Translation({}, False).node({"type": kind})
            for kind in {_KINDS[type(each)] for each in others}
        ]
    )
    if all(isinstance(value, str) for value in others):
        node = core_schema.literal_schema(others)
    return core_schema.nullable_schema(node) if len(others) < len(values) else node


def _bounds(schema: Schema, kind: type) -> dict[str, Any]:
    return {
        name: schema[keyword]
        for keyword, name in _BOUNDS.items()
        if isinstance(schema.get(keyword), int | kind)
    }


def _is_of_python(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
