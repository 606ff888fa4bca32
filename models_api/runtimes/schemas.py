"""Pydantic models of what a signature says."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, create_model

from models_api.runtimes.signature import Column, Label, Output, Shape, Signature, ValueType

_TYPES: dict[ValueType, Any] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "string": str,
    "datetime": datetime,
    "binary": Base64Bytes,
    "any": Any,
}
_MOST_LITERALS = 1000
"""More would make a schema that nobody reads."""
_SHOWN_LABELS = 20
_EXAMPLES: dict[ValueType, object] = {
    "string": "text",
    "boolean": False,
    "datetime": "2026-01-31T12:00:00",
    "binary": "AAEC",
}


class Fields(NamedTuple):
    """A pydantic model, and which field of it has which name outside."""

    schema: type[BaseModel]
    names: dict[str, str]
    """By the name of the field, the name in the signature."""


def input_fields(signature: Signature) -> Fields:
    """Make the schema of what a model takes."""
    names = _field_names(column.name for column in signature.inputs)
    fields: dict[str, Any] = {}
    for field, column in zip(names, signature.inputs, strict=True):
        about = _constraints(column)
        if field != column.name:
            about["alias"] = column.name
        fields[field] = (_input_type(column), Field(**about))
    return Fields(create_model("Input", **fields), names)


def output_fields(signature: Signature) -> Fields:
    """Make the schema of what a model gives."""
    names = _field_names(output.name for output in signature.outputs)
    fields: dict[str, Any] = {}
    for field, output in zip(names, signature.outputs, strict=True):
        about: dict[str, Any] = {"description": _described(output) or None}
        if field != output.name:
            about["serialization_alias"] = output.name
        fields[field] = (_output_type(output), Field(**about))
    config = ConfigDict(protected_namespaces=())
    return Fields(create_model("Output", __config__=config, **fields), names)


def key_of(label: Label) -> str:
    """Return the key of a label in a mapping, as JSON has it."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def example_of(column: Column) -> object:
    """Return a value that the column may have."""
    value: object = column.example
    if value is None and column.categories:
        value = column.categories[0]
    if value is None:
        value = _EXAMPLES.get(column.type, _number_within(column))
    for size in reversed(column.shape):
        value = [value] * (1 if size is None else size)
    return value


def _number_within(column: Column) -> float:
    number = 0.0 if column.minimum is None else max(0.0, column.minimum)
    number = number if column.maximum is None else min(number, column.maximum)
    return int(number) if column.type == "integer" else number


def _field_names(names: Iterable[str]) -> dict[str, str]:
    """Return names that fields may have in Python, each with the name outside."""
    found: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        found[name if _is_usable(name) else f"column_{position}_"] = name
    return found


def _is_usable(name: str) -> bool:
    is_identifier = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
    is_taken = hasattr(BaseModel, name) or name.startswith(("_", "model_", "column_"))
    return is_identifier and not is_taken


def _input_type(column: Column) -> Any:
    item: Any = _TYPES[column.type]
    if _are_literal(column.categories):
        item = Literal[column.categories]
    if column.shape:
        item = _bounded(item, column)
    item = item | None if column.nullable else item
    nested = _nested(item, column.shape)
    return nested | None if column.optional else nested


def _bounded(item: Any, column: Column) -> Any:
    return Annotated[item, Field(**_bounds(column))] if _bounds(column) else item


def _nested(item: Any, shape: Shape) -> Any:
    for size in reversed(shape):
        item = list[item] if size is None else Annotated[list[item], _length(size)]
    return item


def _length(size: int) -> Any:
    return Field(min_length=size, max_length=size)


def _bounds(column: Column) -> dict[str, Any]:
    if _are_literal(column.categories):
        return {}
    bounds = {"ge": column.minimum, "le": column.maximum}
    if column.type == "integer":
        limits = {"ge": -(2**63), "le": 2**63 - 1}  # what an array of integers holds
        return {name: limits[name] if b is None else int(b) for name, b in bounds.items()}
    return {name: float(bound) for name, bound in bounds.items() if bound is not None}


def _constraints(column: Column) -> dict[str, Any]:
    is_optional = column.optional or (column.type == "any" and column.nullable)
    found: dict[str, Any] = {"default": None} if is_optional else {}
    found |= {} if column.shape else _bounds(column)
    if column.description:
        found["description"] = column.description
    if column.type == "any":
        return found
    if not column.shape or None in column.shape or _size(column.shape) <= _SHOWN_LABELS:
        found["examples"] = [example_of(column)]
    return found


def _size(shape: Shape) -> int:
    size = 1
    for each in shape:
        size *= each or 1
    return size


def _output_type(output: Output) -> Any:
    if output.by_label:
        item: Any = dict[str, float]
    elif _are_literal(output.labels):
        item = Literal[output.labels]
    else:
        item = _TYPES[output.type]
    item = item | None if output.nullable else item
    for size in reversed(output.shape):
        item = _nested(item, (size,))
    return item


def _are_literal(labels: Sequence[Label]) -> bool:
    is_few = 0 < len(labels) <= _MOST_LITERALS
    return is_few and not any(isinstance(label, float) for label in labels)


def _described(output: Output) -> str:
    if not output.by_label or not output.labels:
        return output.description
    keys = [key_of(label) for label in output.labels]
    rest = ", ..." if len(keys) > _SHOWN_LABELS else ""
    return f"{output.description} Keys: {', '.join(keys[:_SHOWN_LABELS])}{rest}.".strip()
