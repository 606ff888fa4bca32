"""What is written of predictions: a line for each row of the input, in its order."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydantic_core import from_json, to_json

from models_api.schemas.json_schema import JSONSchema
from models_api.scoring.errors import RowError

Result = bytes | RowError
"""The JSON of a prediction, or why there is none."""


class FailedRow(NamedTuple):
    """A row for which there is no prediction."""

    place: int
    """In its batch, from 0."""
    line: int
    """On which it begins, counted from the first one of its batch."""
    error: RowError
    input: bytes
    """JSON of what the row has."""


class ResultFormat(Protocol):
    """Writes predictions; can be sent to other processes."""

    header: bytes

    def write(self, results: Sequence[Result]) -> bytes:
        """Return the lines of some rows."""


class JSONLinesResults:
    """A prediction on each line, or null."""

    header = b""

    def write(self, results: Sequence[Result]) -> bytes:
        """Return the lines of some rows."""
        lines = [result if isinstance(result, bytes) else b"null" for result in results]
        return b"\n".join([*lines, b""])


class CSVResults:
    """A column for each field of a prediction, without any value where there is none."""

    def __init__(self, document: JSONSchema) -> None:
        self._paths = _paths(document, document) or [()]
        names = [".".join(path) or "prediction" for path in self._paths]
        self.header = _lines([names])

    def write(self, results: Sequence[Result]) -> bytes:
        """Return the lines of some rows."""
        return _lines([self._cells(result) for result in results])

    def _cells(self, result: Result) -> list[str]:
        if not isinstance(result, bytes):
            return [""] * len(self._paths)
        prediction = from_json(result)
        return [_cell(_at(prediction, path)) for path in self._paths]


def _paths(node: JSONSchema, document: JSONSchema) -> list[tuple[str, ...]]:
    """Return where the values are that have a column of their own."""
    paths = []
    for name, field in node.get("properties", {}).items():
        reference = field.get("$ref")
        inner = document["$defs"][reference.rpartition("/")[2]] if reference else field
        is_tree = reference is not None and reference in str(inner)
        deeper = [] if is_tree else _paths(inner, document)
        paths += [(name, *path) for path in deeper or [()]]
    if "$ref" in node and not paths:
        return _paths(document["$defs"][node["$ref"].rpartition("/")[2]], document)
    return paths


def _at(value: object, path: tuple[str, ...]) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value).decode()


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
