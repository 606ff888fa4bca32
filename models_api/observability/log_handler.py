"""The handler of the service's log, which can write many lines together."""

from __future__ import annotations

import logging
import select
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TextIO

_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""Bytes of a write that pipes take in one piece; POSIX promises 512, Linux has 4096."""


class BatchingStreamHandler(logging.StreamHandler[TextIO]):
    """Writes records one by one, and lines of the access log together.

    Each write lets another thread have the interpreter, which at thousands of lines a second costs
    more than all the rest of a line. A stream that fails breaks nothing for whoever logs.
    """

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines that are formatted already."""
        for piece in _pieces(lines):
            self.acquire()
            try:
                self.stream.write(piece)
                self.stream.flush()
            except Exception:  # noqa: BLE001 (a stream may be anybody's)
                self.handleError(logging.makeLogRecord({"msg": piece}))
            finally:
                self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print what went wrong, where that is possible."""
        with suppress(Exception):  # standard error may be what fails
            super().handleError(record)


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Join lines, so that those of other processes come between the pieces, not within."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = 1 + (len(line) if line.isascii() else len(line.encode(errors="replace")))
        if piece and size + length > _PIPE_BUF:
            yield "\n".join([*piece, ""])
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield "\n".join([*piece, ""])
