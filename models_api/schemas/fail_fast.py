"""Validators that stop at the first problem of a list, where pydantic would collect all of them.

Each takes half a kilobyte, many times as much as the value that it is about.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core.core_schema import list_schema

_COLLECTIONS = {
    *("list", "tuple", "set", "frozenset", "deque", "dict", "frozendict", "ordered-dict"),
    *("counter", "defaultdict"),
}
_KEPT_KEYS = {"metadata", "serialization", "default", "cls", "config", "function"}


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def fail_fast_validator(schema: type[BaseModel]) -> SchemaValidator:
    """Return a validator of the schema, which makes the same of what fits."""
    return _validator(schema.__pydantic_core_schema__)


@lru_cache(maxsize=1024)
def fail_fast_list_validator(schema: type[BaseModel]) -> SchemaValidator:
    """Return a validator of lists of what the schema takes."""
    return _validator(list_schema(schema.__pydantic_core_schema__))


def _validator(schema: CoreSchema) -> SchemaValidator:
    try:
        # Else the validators of the models within would be used, which collect.
        return SchemaValidator(_hurried(schema), _use_prebuilt=False)
    except TypeError:  # of a pydantic that does not know this
        return SchemaValidator(_hurried(schema))


def _hurried(part: Any) -> Any:
    """Return a copy of a core schema, or of a part of one."""
    if isinstance(part, list | tuple):
        return type(part)(map(_hurried, part))
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    # In what is no schema, such as the fields of a model, these keys are names like any other.
    if not isinstance(kind, str):
        return {key: _hurried(value) for key, value in part.items()}
    copy = {key: value if key in _KEPT_KEYS else _hurried(value) for key, value in part.items()}
    return {**copy, "fail_fast": True} if kind in _COLLECTIONS else copy
