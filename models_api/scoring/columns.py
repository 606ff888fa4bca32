"""Which column of a table is which field of a model, and what its cells stand for.

The model's JSON Schema says both, so that it is the same for a model here and for one that a
service describes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from pydantic_core import from_json

from models_api.schemas.json_schema import JSONSchema
from models_api.scoring.errors import JobRefused

MISSING = object()
"""The value of a cell that is empty where the field can be left out, but cannot be null."""

_NUMERIC = re.compile(r"[0-9+\-.eE]+")
_BOOLEANS = {"true": True, "false": False}
_NUMBERS = frozenset(["integer", "number"])
_OF_BOOLEANS = _NUMBERS | {"boolean"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


class _Plain(NamedTuple):
    """How cells that hold nothing but digits are read."""

    digits: bytes
    read: Callable[[str], int | float]


_PLAIN = {
    frozenset(["number"]): _Plain(b"0123456789+-.eE", float),
    frozenset(["integer"]): _Plain(b"0123456789+-", int),
}


class CellType(NamedTuple):
    """What the cells of a column stand for."""

    types: frozenset[str]
    """Of JSON, as JSON Schema calls them; none for anything."""
    is_text: bool = False
    """Whether an empty cell is an empty string."""

    def value(self, cell: str) -> object:
        """Return what JSON would have in place of the cell.

        What is none of the types stays a string: validation will say what is wrong with it.
        """
        if not cell:
            return self.empty()
        if "string" in self.types:
            return cell
        stripped = cell.strip()
        # pandas writes True for a flag that a pipeline takes as a number.
        if self.types & _OF_BOOLEANS and stripped.lower() in _BOOLEANS:
            return _BOOLEANS[stripped.lower()]
        if self.types & _NUMBERS:
            number = _number(stripped, may_be_integer="integer" in self.types)
            if number is not None:
                return number
        if not self.types or not self.types.isdisjoint(("object", "array")):
            return _json(cell)
        return cell

    def values(self, cells: Sequence[str]) -> list[object]:
        """Return the values of many cells, in a fraction of the time."""
        plain = _PLAIN.get(self.types)
        if plain is None or "".join(cells).encode().translate(None, plain.digits):
            return list(map(self.value, cells))
        try:
            found: list[object] = list(map(plain.read, cells))
        except ValueError:  # one is empty, for one
            return list(map(self.value, cells))
        return found if all(map(isfinite, found)) else list(map(self.value, cells))  # type: ignore[arg-type]

    def empty(self) -> object:
        """Return what stands for an empty cell."""
        if "null" in self.types:
            return None
        return "" if self.is_text else MISSING


class Column(NamedTuple):
    """A column that is a field, or a field of an object in one."""

    path: tuple[str, ...]
    """Keys that lead to the value."""
    type: CellType


class InputSchema:
    """The fields that a model takes, by its JSON Schema."""

    def __init__(self, document: JSONSchema) -> None:
        self._document = document
        self._node = self._resolved(document)
        self._fields: Mapping[str, JSONSchema] = self._node.get("properties", {})
        self._others: Any = self._node.get("additionalProperties")

    def columns(self, names: Sequence[str], where: str) -> list[Column | None]:
        """Return what each column of a table is; None for those that the model takes none of.

        Raises:
            JobRefused: they cannot be the columns of rows for this model.
        """
        if not self._fields and not self._others:
            message = f"{where}: the model takes no fields with names: give it .jsonl."
            raise JobRefused(message)
        doubled = sorted({name for name in names if name and names.count(name) > 1})
        if doubled:
            raise JobRefused(f"{where}: there is more than one column {_quoted(doubled)}.")
        found = [self._column(name) for name in names]
        given = {column.path[0] for column in found if column is not None}
        missing = [name for name in self._node.get("required", ()) if name not in given]
        if missing:
            raise JobRefused(
                f"{where}: there is no column {_quoted(missing)}, which the model requires; "
                f"there are {_quoted(names) or 'none'}."
                f"{_nearest(missing, names) or self._list_hint(missing)}"
            )
        return found

    def _list_hint(self, missing: Sequence[str]) -> str:
        """Say how a table gives a list; nothing where none is missing."""
        for name in missing:
            if self._cell_type(self._fields.get(name, True)).types == {"array"}:
                return (
                    f' "{name}" is a list: write it as JSON into one cell, such as "[1, 2]". Of a '
                    "model from a file, the key columns of the YAML file names them one by one."
                )
        return ""

    def _column(self, name: str) -> Column | None:
        if name in self._fields:
            return Column((name,), self._cell_type(self._fields[name]))
        outer, _, inner = name.partition(".")
        if inner and outer in self._fields:
            node = self._object(self._fields[outer])
            column = InputSchema({**self._definitions(), **node})._column(inner) if node else None
            return column and Column((outer, *column.path), column.type)
        if name and self._others:
            return Column((name,), self._cell_type(self._others))
        return None

    def _definitions(self) -> JSONSchema:
        return {"$defs": self._document.get("$defs", {})}

    def _object(self, node: JSONSchema) -> JSONSchema | None:
        """Return the node of an object with fields, also where there may be null in its place."""
        choices = node.get("anyOf", [node])
        found = [each for each in map(self._resolved, choices) if "properties" in each]
        return found[0] if len(found) == 1 else None

    def _resolved(self, node: JSONSchema) -> JSONSchema:
        while "$ref" in node:
            node = self._document["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def _cell_type(self, node: JSONSchema | bool) -> CellType:
        alternatives = list(self._alternatives(node, set()))
        types = {name for each in alternatives for name in _types(each)}
        if any(not _types(each) for each in alternatives):
            types = set()
        is_text = types - {"null"} == {"string"} and all(map(_is_free, alternatives))
        return CellType(frozenset(types), is_text)

    def _alternatives(self, node: JSONSchema | bool, seen: set[str]) -> list[JSONSchema]:
        if isinstance(node, bool):
            return [{}]
        reference = node.get("$ref")
        if reference in seen:
            return []
        if reference is not None:
            return self._alternatives(self._resolved(node), {*seen, reference})
        choices = node.get("anyOf") or node.get("oneOf")
        if not choices:
            return [node]
        return [each for choice in choices for each in self._alternatives(choice, seen)]


def _types(node: JSONSchema) -> list[str]:
    """Return the types of JSON that a node without alternatives takes; none for any."""
    if "const" in node or "enum" in node:
        values = node.get("enum", [node.get("const")])
        return [_TYPES.get(type(value), "object") for value in values]
    kinds = node.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is_free(node: JSONSchema) -> bool:
    return node.keys().isdisjoint(("enum", "const", "format"))


def _number(text: str, *, may_be_integer: bool) -> int | float | None:
    if not _NUMERIC.fullmatch(text):
        return None
    if may_be_integer:
        try:
            return int(text)
        except ValueError:  # such as 1.0, or one that has thousands of digits
            pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _json(cell: str) -> object:
    try:
        return from_json(cell, allow_inf_nan=False)
    except ValueError:
        return cell


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _nearest(missing: Sequence[str], names: Sequence[str]) -> str:
    for name in missing:
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            return f' Is "{near[0]}" meant to be "{name}"?'
    return ""
