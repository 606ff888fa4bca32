"""Rows of plain values, to objects and back without JSON between, in a fraction of the time.

Plain are numbers, booleans, strings, enums of numbers or strings, and lists of them. Of these a
schema says the same whether they come as JSON or as Python's values; of others, such as dates in a
strict schema, it may not. Whatever is not plain, or does not fit, is left to `json_codec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

# Keys of pydantic's core schemas that change nothing here. Whatever else is there might.
_NEUTRAL = {"type", "ref", "metadata", "schema", "strict"}
_NUMBER = {"gt", "ge", "lt", "le", "multiple_of", "allow_inf_nan"}
_TEXT = {"pattern", "min_length", "max_length", "strip_whitespace", "to_lower", "to_upper"}
_KEYS = {
    "bool": _NEUTRAL,
    "int": _NEUTRAL | _NUMBER,
    "float": _NEUTRAL | _NUMBER,
    "str": _NEUTRAL | _TEXT | {"regex_engine"},
    "enum": _NEUTRAL | {"cls", "members", "sub_type", "missing"},
    "list": _NEUTRAL | {"items_schema", "min_length", "max_length"},
    "nullable": _NEUTRAL,
    "default": _NEUTRAL | {"default"},
    "model": _NEUTRAL | {"cls", "config", "custom_init", "root_model", "post_init"},
    "model-fields": _NEUTRAL | {"fields", "model_name", "computed_fields"},
    "model-field": _NEUTRAL | {"validation_alias", "serialization_alias"},
    "definition-ref": _NEUTRAL | {"schema_ref"},
}
_CONFIGURATION = {"title", "strict", "frozen", "extra_fields_behavior"}

_SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_TAKEN: dict[type, set[type]] = {bool: {bool}, int: {int}, float: {float, int}, str: {str}}
"""Types of the values that a field takes, by what it holds."""
_INT64 = range(-(2**63), 2**63)


class _Field(NamedTuple):
    """A plain field of a model."""

    name: str
    """In Python."""
    key: str
    """In the JSON of what a model gives."""
    holds: type
    """bool, int, float or str."""
    enum: type[Enum] | None
    is_wrapped: bool
    """Whether it holds lists of these, or None in their place."""


def validate_rows(
    rows: list[dict[str, Any]], kinds: Mapping[str, type | None], schema: type[BaseModel]
) -> list[Any] | None:
    """Make instances of the schema, as their JSON would be made; None if only JSON can tell.

    Args:
        rows: Objects that have the same keys, with finite numbers, booleans, strings, or lists of
            one of them.
        kinds: By key, the type of its values, or of those in its lists; None if that is unknown.
        schema: What the model takes.
    """
    taken = _taken(schema)
    if taken is None or any(kind not in taken.get(key, ()) for key, kind in kinds.items()):
        return None
    try:
        validated: list[Any] = _list_validator(schema).validate_python(rows)
    except Exception:  # noqa: BLE001 (their JSON will tell what is wrong, and where)
        return None
    return validated


def gather_columns(
    predictions: Sequence[Any], schema: type[BaseModel]
) -> dict[str, list[Any]] | None:
    """List, by key, the values that the JSON of the predictions would have; None if it must tell.

    Args:
        predictions: What the model gave.
        schema: What it should be.
    """
    fields = _fields(schema, "serialization_alias")
    if fields is None or set(map(type, predictions)) != {schema}:
        return None
    instances = [prediction.__dict__ for prediction in predictions]
    gathered = {}
    for field in fields:
        try:
            values = [instance[field.name] for instance in instances]
        except KeyError:
            return None
        found = _written(field, values)
        if found is None:
            return None
        gathered[field.key] = found
    return gathered


def _written(field: _Field, values: list[Any]) -> list[Any] | None:
    # Each element of a list would have to be looked at, which JSON does faster.
    if field.is_wrapped or set(map(type, values)) != {field.enum or field.holds}:
        return None
    if field.enum is not None:
        values = [value.value for value in values]
    return values if _have_json(values, field.holds) else None


def _have_json(values: list[Any], kind: type) -> bool:
    """Whether JSON gives the same values back."""
    if kind is float:
        return all(map(isfinite, values))
    if kind is int:
        return min(values) in _INT64 and max(values) in _INT64
    return kind is bool or _is_text("".join(values))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def _list_validator(schema: type[BaseModel]) -> Any:
    return TypeAdapter(list[schema]).validator  # type: ignore[valid-type]


@lru_cache(maxsize=1024)
def _taken(schema: type[BaseModel]) -> dict[str, set[type]] | None:
    fields = _fields(schema, "validation_alias")
    return None if fields is None else {field.key: _taken_by(field) for field in fields}


def _taken_by(field: _Field) -> set[type]:
    return {field.holds} if field.enum else _TAKEN[field.holds]


@lru_cache(maxsize=1024)
def _fields(schema: type[BaseModel], alias: str) -> list[_Field] | None:
    """Find the fields of a schema whose fields are all plain; None of any other."""
    try:
        return _Reader(schema.__pydantic_core_schema__).fields(alias)
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    """Something in a schema is not plain."""


class _Reader:
    """Reads pydantic's core schema of a model."""

    def __init__(self, schema: Any) -> None:
        # While a class waits for names that are defined later, it has something else there.
        if not isinstance(schema, dict):
            raise _NotPlainError
        self._definitions = {}
        if schema["type"] == "definitions":
            self._definitions = {each["ref"]: each for each in schema["definitions"]}
            schema = schema["schema"]
        self._schema = schema

    def fields(self, alias: str) -> list[_Field]:
        model = self._resolved(self._schema)
        fields = self._resolved(model.get("schema", {}))
        configuration = model.get("config", {})
        is_changed = (
            (model["type"], fields["type"]) != ("model", "model-fields")
            or model.get("custom_init")
            or model.get("root_model")
            or fields.get("computed_fields")
            or configuration.keys() - _CONFIGURATION
            or configuration.get("extra_fields_behavior") == "allow"
        )
        if is_changed:
            raise _NotPlainError
        return [
            self._field(name, self._resolved(field), alias)
            for name, field in fields["fields"].items()
        ]

    def _field(self, name: str, field: dict[str, Any], alias: str) -> _Field:
        key = field.get(alias, name)
        node, is_wrapped = self._resolved(field["schema"]), False
        while node["type"] in ("default", "nullable", "list"):
            is_wrapped = is_wrapped or node["type"] != "default"
            node = self._resolved(node.get("schema") or node.get("items_schema", {}))
        enum = node["cls"] if node["type"] == "enum" else None
        holds = _held(node)
        if holds is None or not isinstance(key, str):
            raise _NotPlainError
        return _Field(name, key, holds, enum, is_wrapped)

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return the node, or what it refers to, if all of its keys are known.

        Raises:
            _NotPlainError: one is not.
        """
        kind = node.get("type")
        if kind not in _KEYS or node.keys() - _KEYS[kind]:
            raise _NotPlainError
        if kind == "definition-ref":
            return self._resolved(self._definitions[node["schema_ref"]])
        return node


def _held(node: dict[str, Any]) -> type | None:
    """Find the type of a scalar's values, or of an enum's if all of them have the same."""
    if node["type"] != "enum":
        return _SCALARS.get(node["type"])
    kinds = {type(member.value) for member in node["members"]}
    return kinds.pop() if len(kinds) == 1 and kinds <= _TAKEN.keys() else None
