"""Where rows come from: batches of text files, each with the offset behind it.

Batches have the same rows wherever the reading begins, so that what a model makes of them, to the
last digit, does not depend on whether a job was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

from models_api.scoring.bytestream import ByteStream
from models_api.scoring.errors import JobRefused, JobStopped
from models_api.scoring.rows import LONGEST_RECORD, Batch, Feed, reader_of

_LARGEST_BATCH = 8 * 2**20
"""Bytes at which a batch ends, however few rows it has."""


class Source(Protocol):
    """An input."""

    def batches(self, size: int, offset: int) -> Iterator[Batch]:
        """Yield the rows from an offset on, some at a time; 0 is the beginning."""

    def position(self) -> int:
        """Return how much was read, in units of the input's size."""


class JSONLinesSource:
    """A file with a row of JSON on each line."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def batches(self, size: int, offset: int) -> Iterator[Batch]:
        """Yield so many lines at a time."""
        if offset:
            self._stream.seek(offset)
        lines = (block.splitlines(keepends=True) for block in _blocks(self._stream))
        yield from _batches(lines, size, offset)

    def position(self) -> int:
        """Return the bytes that were read."""
        return self._stream.bytes_read


class CSVSource:
    """A file with a header, and a row of cells in each record."""

    def __init__(self, stream: ByteStream, delimiter: str, where: str) -> None:
        """Read the header.

        Raises:
            JobRefused: there is none.
        """
        self._stream = stream
        self._delimiter = delimiter
        self._records = _records(_blocks(stream), delimiter)
        self._waiting: list[bytes] = []
        self._start = 0
        self.names, self.lines = self._header(where)

    def batches(self, size: int, offset: int) -> Iterator[Batch]:
        """Yield so many records at a time, the header not among them."""
        if offset > self._start:
            self._stream.seek(offset)
            self._waiting = []
            self._records = _records(_blocks(self._stream), self._delimiter)
        found = chain([self._waiting], self._records)
        yield from _batches(found, size, max(offset, self._start))

    def position(self) -> int:
        """Return the bytes that were read."""
        return self._stream.bytes_read

    def _header(self, where: str) -> tuple[list[str], int]:
        """Return the names of the columns, and the lines up to the end of them."""
        lines = 0
        for records in self._records:
            for number, record in enumerate(records, 1):
                self._start += len(record)
                lines += len(record.splitlines())
                cells = _cells(record, self._delimiter, where)
                if cells:
                    self._waiting = records[number:]
                    return [cell.strip() for cell in cells], lines
        raise JobRefused(f"{where} is empty: its first line should name the columns.")


def _cells(record: bytes, delimiter: str, where: str) -> list[str]:
    try:
        text = record.decode()
    except UnicodeDecodeError:
        message = f"{where} is not in UTF-8; name its encoding by --encoding, such as cp1252."
        raise JobRefused(message) from None
    return next(reader_of(text.splitlines(keepends=True), delimiter), [])


def _batches(found: Iterable[list[bytes]], size: int, offset: int) -> Iterator[Batch]:
    waiting: list[bytes] = []
    length = 0
    for record in chain.from_iterable(found):
        waiting.append(record)
        length += len(record)
        if len(waiting) == size or length >= _LARGEST_BATCH:
            offset += length
            yield Batch(b"".join(waiting), offset)
            waiting, length = [], 0
    if waiting:
        yield Batch(b"".join(waiting), offset + length)


def _blocks(stream: ByteStream) -> Iterator[bytes]:
    """Yield some whole lines at a time.

    Raises:
        JobStopped: one is too long to be one.
    """
    rest = b""
    while block := stream.read():
        rest += block
        end = rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, len(rest) - 1) + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LONGEST_RECORD:
            raise _too_long("A line")
    if rest:
        yield rest


def _records(blocks: Iterable[bytes], delimiter: str) -> Iterator[list[bytes]]:
    """Yield some whole records of CSV at a time, which have lines in their quotation marks.

    Raises:
        JobStopped: one is too long to be one.
    """
    rest = b""
    for block in blocks:
        text = rest + block
        if b'"' not in text:
            rest = b""
            yield text.splitlines(keepends=True)
            continue
        records, rest = _quoted_records(text, delimiter)
        if len(rest) > LONGEST_RECORD:
            raise _too_long("A row, perhaps for want of a closing quotation mark,")
        yield records
    if rest:
        yield [rest]


def _quoted_records(text: bytes, delimiter: str) -> tuple[list[bytes], bytes]:
    """Return the whole records, and what is left behind them."""
    lines = text.splitlines(keepends=True)
    # What matters to CSV is in ASCII, and each byte is a character here.
    feed = Feed(line.decode("latin-1") for line in lines)
    reader = reader_of(feed, delimiter)
    records, start = [], 0
    for _ in reader:
        if feed.has_ended:
            break
        records.append(b"".join(lines[start : reader.line_num]))
        start = reader.line_num
    return records, b"".join(lines[start:])


def _too_long(what: str) -> JobStopped:
    return JobStopped(f"{what} is longer than {LONGEST_RECORD // 2**20} MiB.")
