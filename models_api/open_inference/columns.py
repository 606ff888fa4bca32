"""Which tensor holds which field of a pydantic model, read from the model's JSON Schema.

A field is a tensor of its own, and the first dimension of each tensor counts rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel

from models_api.schemas.json_schema import JSONSchema, Mode, json_schema

ANY_LENGTH = -1
"""Dimension that is not the same for all rows' lists, or not known."""
WHOLE = {"validation": "input", "serialization": "output"}
"""Name of the only tensor of a model that is no object with fields of its own."""

_CONTENT_TYPES = {"base64": "base64", "base64url": "base64", "date-time": "datetime"}
"""What MLServer calls strings of these formats."""
_DATATYPES = {"boolean": "BOOL", "integer": "INT64", "number": "FP64", "string": "BYTES"}
_NUMBERS = {"INT64", "FP64"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Column:
    """How a field, or a whole value, goes into a tensor."""

    name: str
    datatype: str
    dimensions: tuple[int, ...] = ()
    """Beyond the first, which counts rows."""
    content_type: str | None = None
    """What the elements of BYTES are: `str`, `datetime`, `base64`, or `json`; else None."""
    is_nullable: bool = False
    is_required: bool = True
    holds_null: bool = False
    """Whether elements of lists may be null, which is NaN among FP64."""

    @property
    def is_scalar(self) -> bool:
        """Whether each row has one element, which holds no JSON."""
        return not self.dimensions and self.content_type != "json"


@dataclass(frozen=True, slots=True)
class Columns:
    """All tensors of a pydantic model."""

    by_name: Mapping[str, Column]
    is_whole: bool
    """Whether the only column holds the whole value, rather than a field of it."""
    takes_others: bool = False
    """Whether the model takes fields that it does not name."""
    refuses_others: bool = False
    """Whether these are an error, where otherwise nobody looks at them."""

    def __iter__(self) -> Iterator[Column]:
        return iter(self.by_name.values())

    def positional(self, length: int | None = None) -> list[Column] | None:
        """Find the columns that those of a single tensor with another name stand for, in order.

        All of them, or all that are required, if they are so many scalars of one kind.
        """
        for columns in (list(self), [column for column in self if column.is_required]):
            if length in (None, len(columns)) and _are_of_one_kind(columns):
                return columns
        return None


# A service has few schemas, and a loaded model may change its own.
@cache
def columns(schema: type[BaseModel], mode: Mode) -> Columns:
    """Find the tensors of what a model takes (`validation`) or gives (`serialization`)."""
    document = json_schema(schema, mode)
    reader = _Reader(document.get("$defs", {}), mode)
    node = reader.resolved(document)
    properties = node.get("properties")
    if not properties:
        name = WHOLE[mode]
        return Columns({name: reader.column(name, node, is_required=True)}, is_whole=True)
    required = node.get("required", ())
    found = {
        name: reader.column(name, field, name in required) for name, field in properties.items()
    }
    others = node.get("additionalProperties")
    return Columns(found, is_whole=False, takes_others=bool(others), refuses_others=others is False)


def _are_of_one_kind(columns: Sequence[Column]) -> bool:
    kinds = {"number" if each.datatype in _NUMBERS else each.datatype for each in columns}
    return len(kinds) == 1 and all(column.is_scalar for column in columns)


_JSON = Column("", "BYTES", content_type="json")


class _Reader:
    def __init__(self, definitions: Mapping[str, JSONSchema], mode: Mode) -> None:
        self._definitions = definitions
        self._mode = mode
        self._followed: set[str] = set()

    def column(self, name: str, node: JSONSchema, is_required: bool) -> Column:
        column = self._column(node)
        if self._mode == "serialization":
            # What may be left out is written as null.
            column = _written(replace(column, is_nullable=column.is_nullable or not is_required))
        return replace(column, name=name, is_required=is_required)

    def resolved(self, node: JSONSchema) -> JSONSchema:
        while "$ref" in node:
            node = self._definition(node["$ref"])
        return node

    def _definition(self, reference: str) -> JSONSchema:
        return self._definitions[reference.rpartition("/")[2]]

    def _column(self, node: JSONSchema) -> Column:
        reference = node.get("$ref")
        if reference is None:
            return self._described(node)
        # A definition that holds itself has no end.
        if reference in self._followed:
            return _JSON
        self._followed.add(reference)
        column = self._column(self._definition(reference))
        self._followed.remove(reference)
        return column

    def _described(self, node: JSONSchema) -> Column:
        if "const" in node or "enum" in node:
            return _of_values([node["const"]] if "const" in node else node["enum"])
        choices = node.get("anyOf") or node.get("oneOf")
        if choices:
            return self._of_choices(choices)
        if node.get("type") == "array":
            return self._of_array(node)
        if node.get("type") == "null":
            return replace(_JSON, is_nullable=True)
        return _of_type(node.get("type"), node.get("format"))

    def _of_choices(self, choices: Sequence[JSONSchema]) -> Column:
        others = [each for each in choices if not _is_null(self.resolved(each))]
        column = self._common([self._column(each) for each in others])
        return replace(column, is_nullable=True) if len(others) < len(choices) else column

    def _of_array(self, node: JSONSchema) -> Column:
        items = list(node.get("prefixItems", ()))
        if isinstance(node.get("items"), dict):
            items.append(node["items"])
        item = self._common([self._column(each) for each in items])
        holds_null = item.is_nullable and not item.dimensions and self._can_be_nan(item)
        if item.content_type == "json" or (item.is_nullable and not holds_null):
            return _JSON
        return replace(
            item,
            dimensions=(_length(node), *item.dimensions),
            is_nullable=False,
            holds_null=item.holds_null or holds_null,
        )

    def _can_be_nan(self, column: Column) -> bool:
        """Return whether there is room for null in elements that a model gives."""
        return self._mode == "serialization" and column.datatype == "FP64"

    def _common(self, columns: Sequence[Column]) -> Column:
        """Find what holds the values of each of these."""
        if not columns:
            return _JSON
        first, *rest = columns
        if all(column == first for column in rest):
            return first
        kinds = {column.datatype for column in columns}
        if kinds <= _NUMBERS and any(map(self._can_be_nan, columns)):
            columns = _with_nan(columns)
            first, *_ = columns
        alike = {(column.dimensions, column.is_nullable) for column in columns}
        is_json = any(column.content_type == "json" for column in columns)
        if len(alike) > 1 or is_json or "BOOL" in kinds:
            return _JSON
        if kinds == _NUMBERS:
            return replace(first, datatype="FP64")
        if self._mode == "validation" or kinds == {"BYTES"}:
            # A client may send either, and a number as text too.
            return replace(first, datatype="BYTES", content_type="str")
        return _JSON


def _with_nan(columns: Sequence[Column]) -> list[Column]:
    """Return columns of numbers, all with the room for null that one of them needs."""
    is_nullable = any(column.is_nullable for column in columns if not column.dimensions)
    holds_null = any(column.holds_null for column in columns)
    return [
        replace(
            column,
            is_nullable=column.is_nullable or (is_nullable and not column.dimensions),
            holds_null=holds_null,
        )
        for column in columns
    ]


def _written(column: Column) -> Column:
    """Make room for null, which is NaN among FP64, and among others takes JSON."""
    is_lossless = not column.is_nullable or (column.datatype == "FP64" and not column.dimensions)
    return column if is_lossless else replace(_JSON, is_nullable=True)


def _is_null(node: JSONSchema) -> bool:
    return node.get("type") == "null" or ("const" in node and node["const"] is None)


def _of_type(name: Any, format_: Any) -> Column:
    datatype = _DATATYPES.get(name) if isinstance(name, str) else None
    if datatype is None:
        return _JSON
    content_type = _CONTENT_TYPES.get(format_, "str") if datatype == "BYTES" else None
    return Column("", datatype, content_type=content_type)


def _of_values(values: Sequence[Any]) -> Column:
    types = {_TYPES.get(type(value), "object") for value in values}
    is_nullable = "null" in types
    types.discard("null")
    if types == {"integer", "number"}:
        types = {"number"}
    column = _of_type(types.pop(), None) if len(types) == 1 else _JSON
    return replace(column, is_nullable=is_nullable)


def _length(node: JSONSchema) -> int:
    length: int = node.get("minItems", ANY_LENGTH)
    return length if length == node.get("maxItems") else ANY_LENGTH
