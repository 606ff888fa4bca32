"""Rows of plain values, to objects and back without JSON between, in a fraction of the time.

Whatever is not plain, or does not fit, is left to `json_codec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

from models_api.prediction.plain_columns import written
from models_api.schemas.plain_fields import plain_schema


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
    plain = plain_schema(schema, "serialization_alias")
    if plain is None or set(map(type, predictions)) != {schema}:
        return None
    instances = [prediction.__dict__ for prediction in predictions]
    gathered = {}
    for field in plain.fields:
        try:
            values = [instance[field.name] for instance in instances]
        except KeyError:
            return None
        found = written(field, values)
        if found is None:
            return None
        gathered[field.key] = found
    return gathered


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def _list_validator(schema: type[BaseModel]) -> Any:
    return TypeAdapter(list[schema]).validator  # type: ignore[valid-type]


@lru_cache(maxsize=1024)
def _taken(schema: type[BaseModel]) -> dict[str, set[type]] | None:
    plain = plain_schema(schema, "validation_alias")
    return None if plain is None else {field.key: field.takes for field in plain.fields}
