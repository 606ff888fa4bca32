"""The rows of a batch: from the bytes of a file to what a client would send for each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic_core import from_json, to_json

from models_api.scoring.columns import MISSING, Column
from models_api.scoring.errors import RowError
from models_api.scoring.json_arrays import split_array

LONGEST_RECORD = 16 * 2**20
"""Bytes of a row; one that is longer is rather a quotation mark that nobody closed."""

_UNREADABLE = "UnreadableRow"


class Row(NamedTuple):
    """A row of the input."""

    line: int
    """On which it begins, counted from the first one of the batch, which is 0."""
    body: bytes
    """JSON, or what should be."""
    error: RowError | None = None
    """Why it cannot be read; None for one that can."""


class Batch(NamedTuple):
    """Rows that are predicted together."""

    payload: bytes | list[Mapping[str, object]]
    """The rows as the input has them."""
    end: int
    """Offset in the input behind them."""


class RowFormat(Protocol):
    """Reads the rows of batches; can be sent to other processes."""

    makes_json: bool
    """Whether the bodies of rows are JSON for certain."""

    def read(self, batch: Batch) -> tuple[list[Row], int]:
        """Return the rows, and the number of lines that they take."""


class JSONLines:
    """A row of JSON on each line; lines without anything are none."""

    makes_json = False

    def read(self, batch: Batch) -> tuple[list[Row], int]:
        """Return the rows, and the number of lines."""
        assert isinstance(batch.payload, bytes)  # noqa: S101 (for the type checker)
        lines = batch.payload.splitlines()
        stripped = enumerate(map(bytes.strip, lines))
        return [Row(number, line) for number, line in stripped if line], len(lines)


class CSVRows:
    """A row of cells in each record; empty lines are none."""

    makes_json = True

    def __init__(self, columns: Sequence[Column | None], delimiter: str) -> None:
        self._width = len(columns)
        self._columns = [(i, column) for i, column in enumerate(columns) if column is not None]
        self._is_flat = all(len(column.path) == 1 for _, column in self._columns)
        self._delimiter = delimiter

    def read(self, batch: Batch) -> tuple[list[Row], int]:
        """Return the rows, and the number of lines."""
        assert isinstance(batch.payload, bytes)  # noqa: S101 (for the type checker)
        text, is_text = _decoded(batch.payload)
        feed = Feed(io.StringIO(text, newline=""))
        reader = reader_of(feed, self._delimiter)
        records, line = [], 0
        for cells in reader:
            if cells:
                records.append((line, cells, self._error(cells, is_text, feed.has_ended)))
            line = reader.line_num
        bodies = iter(self._bodies([cells for _, cells, error in records if error is None]))
        rows = [
            Row(line, next(bodies) if error is None else _readable(cells), error)
            for line, cells, error in records
        ]
        return rows, line

    def _error(self, cells: list[str], is_text: bool, is_open: bool) -> RowError | None:
        if is_open:
            return RowError(_UNREADABLE, ["A quotation mark in this row is never closed."])
        if not is_text and any(not _is_utf8(cell) for cell in cells):
            message = "The row is not in UTF-8; name its encoding by --encoding."
            return RowError(_UNREADABLE, [message])
        if len(cells) != self._width:
            message = f"The row has {len(cells)} cells, but there are {self._width} columns."
            return RowError(_UNREADABLE, [message])
        return None

    def _bodies(self, records: list[list[str]]) -> list[bytes]:
        """Return the objects that the cells of readable records stand for."""
        cells = list(zip(*records, strict=True))
        values = [column.type.values(cells[i]) for i, column in self._columns] if cells else []
        objects: list[dict[str, object]] = [{}] * len(records)
        if values and self._is_flat:
            names = [column.path[0] for _, column in self._columns]
            objects = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        elif values:
            paths = [column.path for _, column in self._columns]
            objects = [nested(zip(paths, row, strict=True)) for row in zip(*values, strict=True)]
        if any(MISSING in column for column in values):
            objects = [_without_missing(each) for each in objects]
        return split_array(to_json(objects), len(objects))


class ParquetRows:
    """A row of typed values in each mapping; what is missing is null, or left out."""

    makes_json = True

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    def read(self, batch: Batch) -> tuple[list[Row], int]:
        """Return the rows; there are no lines."""
        assert isinstance(batch.payload, list)  # noqa: S101 (for the type checker)
        return list(map(self._row, batch.payload)), 0

    def _row(self, values: Mapping[str, object]) -> Row:
        columns = [self._columns[name] for name in values]
        filled = [
            _null(column) if value is None or value != value else value  # noqa: PLR0124
            for column, value in zip(columns, values.values(), strict=True)
        ]
        try:
            paths = [column.path for column in columns]
            return Row(0, to_json(_without_missing(nested(zip(paths, filled, strict=True)))))
        except ValueError as error:
            message = f"The row has no JSON: {error}"
            return Row(0, to_json(str(values)), RowError(_UNREADABLE, [message]))


def _null(column: Column) -> object:
    return None if "null" in column.type.types else MISSING


def _without_missing(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not MISSING}


def _readable(cells: list[str]) -> bytes:
    return to_json([cell.encode("utf-8", "replace").decode() for cell in cells])


class Feed:
    """Iterates over lines, and knows when somebody has asked for more than there are."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.has_ended = False

    def __iter__(self) -> Iterator[str]:
        yield from self._lines
        self.has_ended = True


def reader_of(lines: Iterable[str], delimiter: str) -> csv._reader:  # type: ignore[name-defined]
    """Return what reads records of CSV, however long their cells are."""
    csv.field_size_limit(2 * LONGEST_RECORD)
    return csv.reader(lines, delimiter=delimiter)


def nested(values: Iterable[tuple[tuple[str, ...], object]]) -> dict[str, object]:
    """Return the object in which each value is at its path.

    An object none of whose fields has a value is not there.
    """
    found: dict[str, object] = {}
    present = [(path, value) for path, value in values if value is not MISSING]
    # An empty cell makes no object, but stands in one that another has made.
    for path, value in sorted(present, key=lambda each: each[1] in (None, "")):
        place: object = found
        for key in path[:-1]:
            if isinstance(place, dict):
                place = place.get(key) if value in (None, "") else place.setdefault(key, {})
        if isinstance(place, dict):
            place[path[-1]] = value
    return found


def as_json(body: bytes) -> bytes:
    """Return the JSON of a row, or a string of what is none."""
    try:
        from_json(body)
    except ValueError:
        return to_json(body.decode("utf-8", "replace"))
    return body


def _decoded(payload: bytes) -> tuple[str, bool]:
    """Return the text, and whether all of it is one."""
    try:
        return payload.decode(), True
    except UnicodeDecodeError:
        return payload.decode("utf-8", "surrogateescape"), False


def _is_utf8(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
