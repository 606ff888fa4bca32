"""Columns of plain values: checked by a schema field by field, without an object for each row.

Only for schemas whose fields hold plain values, lists of these, or None. All else, and what does
not fit, is left to `plain_rows` and `codec`, which find which row is wrong, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, Protocol, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, core_schema

from models_api.schemas.core_nodes import CoreNode
from models_api.schemas.plain_fields import Field, PlainValues, plain_schema

_INT64 = range(-(2**63), 2**63)


class SupportsToList(Protocol):
    """An array of numpy's, or a tensor of another library, none of which need be installed."""

    def tolist(self) -> PlainValues:
        """Return Python's values of the elements."""


ArrayT = TypeVar("ArrayT", bound=SupportsToList)


class _Column(NamedTuple):
    field: Field
    validator: SchemaValidator
    """Of a list of values, one for each row."""


def validate_columns(
    columns: Mapping[str, ArrayT], kinds: Mapping[str, type | None], schema: type[BaseModel]
) -> dict[str, ArrayT | PlainValues] | None:
    """Return, by name, what the fields of instances for these rows would hold; None if uncertain.

    Args:
        columns: By key, an array of numpy's, rows first; its elements are finite numbers, booleans
            or strings of Python's, or None.
        kinds: By key, the type of those that are not None; None if that is unknown.
        schema: What the model takes.

    Returns:
        For each field a list, or the array itself if it holds the same.
    """
    fields = _columns(schema, "validation_alias")
    if fields is None or columns.keys() != {field.key for field, _ in fields}:
        return None
    if any(kinds[field.key] not in field.takes for field, _ in fields):
        return None
    found: dict[str, ArrayT | PlainValues] = {}
    for field, validator in fields:
        values = columns[field.key]
        try:
            validated = validator.validate_python(values.tolist())
        except Exception:  # noqa: BLE001 (validating row by row finds what is wrong, and where)
            return None
        is_same = kinds[field.key] is field.holds is not str and field.enum is None
        found[field.name] = values if is_same else validated
    return found


def written_columns(
    predictions: Mapping[str, PlainValues], schema: type[BaseModel]
) -> dict[str, PlainValues] | None:
    """Return, by key, the values that the JSON of these predictions would have; None if uncertain.

    Args:
        predictions: By the name of the field, a value for each row.
        schema: What the rows should be.
    """
    fields = _columns(schema, "serialization_alias")
    if fields is None or predictions.keys() != {field.name for field, _ in fields}:
        return None
    found: dict[str, PlainValues] = {}
    for field, validator in fields:
        try:
            values = _with_nulls(field, validator.validate_python(predictions[field.name]))
        except BaseException:  # noqa: BLE001 (a model's own object may raise anything)
            return None
        if values is None:
            return None
        found[field.key] = values
    return found


def written(field: Field, values: PlainValues) -> PlainValues | None:
    """Return what the JSON of a field's values would have; None if uncertain."""
    # Each element of a list would have to be checked, which serialising does faster.
    if field.is_list:
        return None
    if field.is_nullable:
        return _written_with_none(field, values)
    if set(map(type, values)) != {field.enum or field.holds}:
        return None
    if field.choices is not None and not field.choices.issuperset(values):
        return None
    if field.enum is not None:
        try:
            values = list(map(field.members.__getitem__, map(id, values)))
        except KeyError:  # such as a flag that is made of others
            return None
    return values if _have_json(values, field.holds) else None


def _written_with_none(field: Field, values: PlainValues) -> PlainValues | None:
    present = [value for value in values if value is not None]
    found = written(field._replace(is_nullable=False), present) if present else []
    if found is None or len(present) == len(values):
        return found
    rest = iter(found)
    return [None if value is None else next(rest) for value in values]


def _with_nulls(field: Field, values: PlainValues) -> PlainValues | None:
    # JSON has neither NaN nor infinity.
    if field.holds is float and field.enum is None:
        numbers = filter(None, values) if field.is_nullable else values
        if not all(map(isfinite, numbers)):
            return [value if value is None or isfinite(value) else None for value in values]
    return written(field, values)


def _have_json(values: PlainValues, kind: type) -> bool:
    """Return whether JSON gives the same values back."""
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
def _columns(schema: type[BaseModel], alias: str) -> list[_Column] | None:
    plain = plain_schema(schema, alias)
    if plain is None or not plain.fields or plain.has_hook:
        return None
    config = CoreConfig(strict=plain.is_strict)
    return [_Column(field, _list_validator(field, config)) for field in plain.fields]


def _list_validator(field: Field, config: CoreConfig) -> SchemaValidator:
    node = _without_reference(field.scalar)
    for outer in reversed(field.around):
        key = "schema" if outer["type"] == "nullable" else "items_schema"
        node = {**_without_reference(outer), key: node}
    items = cast(CoreSchema, node)
    return SchemaValidator(core_schema.list_schema(items, fail_fast=True), config)


def _without_reference(node: CoreNode) -> dict[str, object]:
    # Nothing refers to it here, and its name may be there twice.
    return {key: value for key, value in node.items() if key != "ref"}
