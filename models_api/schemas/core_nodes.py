"""What pydantic's core schemas hold, however deep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

CoreNode = Mapping[str, Any]
"""A core schema of pydantic's, or a part of one, read by its keys whatever kind it is of."""

_DATA = {"metadata", "default", "cls", "expected", "members"}
"""Keys of pydantic's core schemas whose values hold none."""
_FUNCTIONS = {"function-plain", "function-wrap"}


def core_schema(schema: type[BaseModel]) -> tuple[CoreNode, dict[str, CoreNode]] | None:
    """Return the core schema of a model, and what parts of it refer to, by their references.

    None while the class waits for names that are defined later.
    """
    node: object = schema.__pydantic_core_schema__
    if not isinstance(node, dict):
        return None
    if node["type"] != "definitions":
        return node, {}
    return node["schema"], {each["ref"]: each for each in node["definitions"]}


# A service has few schemas, and a loaded model may change its own.
@lru_cache(maxsize=1024)
def fields_with_own_serializers(schema: type[BaseModel]) -> frozenset[str]:
    """Return the names of the fields that something else than pydantic writes."""
    return frozenset(
        name
        for name, field in fields_of(schema).items()
        if any(map(_is_own, nodes(field, within_models=False)))
    )


def fields_of(schema: type[BaseModel]) -> Mapping[str, CoreNode]:
    """Return the core schema of each field; none of a schema that has no fields of its own."""
    model = next(
        (node for node in nodes(schema.__pydantic_core_schema__) if node.get("cls") is schema), {}
    )
    fields = next((node for node in nodes(model) if node.get("type") == "model-fields"), {})
    found: Mapping[str, CoreNode] = fields.get("fields", {})
    return found


@lru_cache(maxsize=1024)
def has_undescribed_serializers(schema: type[BaseModel]) -> bool:
    """Return whether something in it is written by a function that does not say what it gives."""
    return any(map(is_undescribed, nodes(schema.__pydantic_core_schema__)))


def is_undescribed(node: CoreNode) -> bool:
    """Return whether a core schema has a function that writes it, and does not say as what."""
    return _is_own(node) and "return_schema" not in node["serialization"]


def nodes(value: object, *, within_models: bool = True) -> Iterator[CoreNode]:
    """Yield all core schemas in one, from the outermost.

    Args:
        value: The core schema.
        within_models: Whether to go on within pydantic models.
    """
    if isinstance(value, Mapping):
        if value.get("type") == "model" and not within_models:
            return
        yield value
        parts = [part for key, part in value.items() if key not in _DATA]
    else:
        parts = list(value) if isinstance(value, list | tuple) else []
    for part in parts:
        yield from nodes(part, within_models=within_models)


def _is_own(node: CoreNode) -> bool:
    serialization = node.get("serialization")
    return isinstance(serialization, Mapping) and serialization.get("type") in _FUNCTIONS
