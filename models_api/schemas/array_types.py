"""Of which type the arrays are that hold the values of a model's fields, one for each row.

The schema alone says so, so that no value of a request makes them others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

from pydantic import BaseModel, RootModel

from models_api.schemas.core_nodes import CoreNode, core_schema, fields_of

_NUMBERS = {"bool": "?", "int": "i8", "float": "f8"}
_AROUND = {"default", "nullable", "function-before", "function-after", "function-wrap"}
_MISSING = object()


class ArrayType(NamedTuple):
    """What numpy calls an array of a field's values."""

    dtype: str
    """`f8`, `i8`, `?`, or `O` for objects."""
    dimensions: tuple[int, ...] = ()
    """Beyond the first, which counts rows."""


_OBJECTS = ArrayType("O")


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def array_types(schema: type[BaseModel]) -> dict[str, ArrayType]:
    """Return the type of the array for each field, by its name in Python."""
    _, definitions = core_schema(schema) or ({}, {})
    return {
        name: _array_type(field["schema"], definitions) for name, field in fields_of(schema).items()
    }


def why_no_columns(input_schema: type[BaseModel], output_schema: type[BaseModel]) -> str | None:
    """Return why columns cannot stand for the rows of a model; None if they can."""
    if find_spec("numpy") is None:
        return "numpy is not installed"
    for schema, role in ((input_schema, "input"), (output_schema, "output")):
        described = f"its {role} schema {schema.__name__}"
        if issubclass(schema, RootModel):
            return f"{described} is a RootModel, which has no fields"
        if not schema.model_fields:
            return f"{described} has no fields"
    if input_schema.model_config.get("extra") == "allow":
        return (
            f"its input schema {input_schema.__name__} has extra='allow', and what a client sends "
            "beyond the fields would have no column"
        )
    return None


def _array_type(node: CoreNode, definitions: Mapping[str, CoreNode]) -> ArrayType:
    """Return the type of the array of a field that holds what the core schema describes."""
    is_nullable, dimensions = False, list[int]()
    while True:
        kind = node["type"]
        if kind == "definition-ref":
            node = definitions[node["schema_ref"]]
        elif kind in _AROUND:
            # A default that is None is none of the type, but there.
            is_nullable |= kind == "nullable" or node.get("default", _MISSING) is None
            node = node["schema"]
        elif (length := _fixed_length(node)) is not None:
            dimensions.append(length)
            items = node.get("items_schema", {"type": "any"})
            node = items[0] if kind == "tuple" else items
        else:
            return _of_scalar(node, is_nullable, tuple(dimensions))


def _of_scalar(node: CoreNode, is_nullable: bool, dimensions: tuple[int, ...]) -> ArrayType:
    kinds = {type(value).__name__ for value in node.get("expected", ())} or {node["type"]}
    dtype = _NUMBERS.get(kinds.pop(), "O") if len(kinds) == 1 else "O"
    # Only among floats there is one that is none.
    has_room = not is_nullable or (dtype == "f8" and not dimensions)
    return ArrayType(dtype, dimensions) if dtype != "O" and has_room else _OBJECTS


def _fixed_length(node: CoreNode) -> int | None:
    """Return the length of all lists or tuples of a field; None where they differ, or are none."""
    if node["type"] == "list" and node.get("min_length") == node.get("max_length"):
        return node.get("max_length")
    if node["type"] == "tuple" and "variadic_item_index" not in node:
        items = node["items_schema"]
        is_alike = len({item["type"] for item in items}) == 1 and items[0]["type"] in _NUMBERS
        return len(items) if is_alike else None
    return None
