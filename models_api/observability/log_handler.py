"""The handler of the service's log, which writes the lines of the access log together."""

from __future__ import annotations

import logging
import select
from contextlib import suppress
from typing import TextIO

_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)
"""Bytes of a write that pipes take in one piece; POSIX promises 512, Linux has 4096."""


class BatchingStreamHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream; the lines of one logger wait for `flush`, or until there are many.

    Each write lets another thread have the interpreter, which at thousands of lines a second costs
    more than all the rest of a line. Lines that wait are written in pieces that pipes take whole,
    so that lines of other processes come between them. Lines of other loggers are written at once.
    A stream that fails breaks nothing for whoever logs.
    """

    def __init__(self, stream: TextIO | None = None, held_logger: str = "") -> None:
        """Make it, with the name of the logger whose lines may wait."""
        super().__init__(stream)
        self._held_logger = held_logger
        self._held: list[str] = []
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or have its line wait."""
        try:
            line = self.format(record) + self.terminator
            size = len(line) if line.isascii() else len(line.encode(errors="replace"))
            if self._size + size > _PIPE_BUF:
                self.flush()
            self._held.append(line)
            self._size += size
            if record.name != self._held_logger:
                self.flush()
        except Exception:  # noqa: BLE001 (of the stream, or of whatever the record holds)
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that wait."""
        self.acquire()
        try:
            if self._held:
                piece, self._held, self._size = "".join(self._held), [], 0
                self.stream.write(piece)
            super().flush()
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print what went wrong, where that is possible."""
        with suppress(Exception):  # standard error may be what fails
            super().handleError(record)
