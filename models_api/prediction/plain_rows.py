"""Rows of plain values, to objects and back without JSON between, in a fraction of the time.

Whatever is not plain, or does not fit, is left to `codec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from pydantic import BaseModel

from models_api.prediction.plain_columns import written
from models_api.schemas.fail_fast import fail_fast_list_validator
from models_api.schemas.plain_fields import PlainValues, plain_schema


def validate_rows(
    rows: list[dict[str, object]], kinds: Mapping[str, type | None], schema: type[BaseModel]
) -> list[BaseModel] | None:
    """Return the instances of the schema that their JSON would give; None if that is not certain.

    Args:
        rows: Objects that have the same keys, with finite numbers, booleans, strings, or lists of
            one of them, or None.
        kinds: By key, the type of its values that are not None, or of those in its lists; None if
            that is unknown.
        schema: What the model takes.
    """
    taken = _taken(schema)
    if taken is None or any(kind not in taken.get(key, ()) for key, kind in kinds.items()):
        return None
    try:
        validated: list[BaseModel] = fail_fast_list_validator(schema).validate_python(rows)
    except Exception:  # noqa: BLE001 (validating their JSON finds what is wrong, and where)
        return None
    return validated


def gather_columns(
    predictions: Sequence[object], schema: type[BaseModel]
) -> dict[str, PlainValues] | None:
    """Return, by key, the values that the JSON of the predictions would have; None if uncertain.

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


@lru_cache(maxsize=1024)
def _taken(schema: type[BaseModel]) -> dict[str, set[type]] | None:
    plain = plain_schema(schema, "validation_alias")
    return None if plain is None else {field.key: field.takes for field in plain.fields}
